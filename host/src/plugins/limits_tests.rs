//! Budgets, met by real WebAssembly where they concern it.

use wasmtime::{Config, Engine, Instance, Module, Store};

use super::*;

const PAGE: usize = 64 << 10;

/// A module with two memories of these pages, the most of which is three.
fn two_memories(a: u8, b: u8) -> Vec<u8> {
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    bytes.extend([5, 7, 2, 1, a, 3, 1, b, 3]);
    bytes
}

fn instantiate(module: &[u8], limiter: Limiter) -> (Store<Limiter>, wasmtime::Result<Instance>) {
    let engine = Engine::new(&Config::new()).unwrap();
    let module = Module::from_binary(&engine, module).unwrap();
    let mut store = Store::new(&engine, limiter);
    store.limiter(|l| l);
    let instance = Instance::new(&mut store, &module, &[]);
    (store, instance)
}

fn limiter(pages: usize, pool: &Arc<MemoryPool>) -> Limiter {
    Limiter::new(&Limits { memory: pages * PAGE, ..Limits::default() }, pool.clone())
}

#[test]
fn memory_is_summed_over_all_memories_of_a_store() {
    let pool = Arc::<MemoryPool>::default();
    let (store, instance) = instantiate(&two_memories(1, 2), limiter(3, &pool));
    instance.unwrap();
    assert_eq!((store.data().high_water, pool.used()), (3 * PAGE, 3 * PAGE));
    let (other, instance) = instantiate(&two_memories(2, 2), limiter(3, &pool));
    assert_eq!(instance.unwrap_err().downcast_ref::<Exceeded>(), Some(&Exceeded::Memory(3 * PAGE)));
    drop((store, other));
    assert_eq!(pool.used(), 0);
}

#[test]
fn what_all_plugins_use_together_is_the_hosts_affair() {
    let pool = Arc::<MemoryPool>::default();
    pool.set_limit(4 * PAGE);
    let (first, instance) = instantiate(&two_memories(1, 2), limiter(100, &pool));
    instance.unwrap();
    let (_second, instance) = instantiate(&two_memories(1, 1), limiter(100, &pool));
    assert_eq!(instance.unwrap_err().downcast_ref::<Exceeded>(), Some(&Exceeded::HostMemory(4 * PAGE)));
    drop(first);
    instantiate(&two_memories(1, 1), limiter(100, &pool)).1.unwrap();
}

#[test]
fn one_plugin_leaves_half_to_the_others() {
    let all = Arc::<MemoryPool>::default();
    all.set_limit(8 * PAGE);
    let (greedy, modest) = (Arc::new(MemoryPool::share(all.clone())), Arc::new(MemoryPool::share(all.clone())));
    let (first, instance) = instantiate(&two_memories(1, 2), limiter(100, &greedy));
    instance.unwrap();
    let (second, instance) = instantiate(&two_memories(1, 1), limiter(100, &greedy));
    assert_eq!(instance.unwrap_err().downcast_ref::<Exceeded>(), Some(&Exceeded::Share(4 * PAGE)));
    let (third, instance) = instantiate(&two_memories(2, 2), limiter(100, &modest));
    instance.unwrap();
    drop((first, second, third));
    assert_eq!((greedy.used(), modest.used(), all.used()), (0, 0, 0));
}

#[test]
fn a_growth_that_fails_after_all_is_given_back() {
    let pool = Arc::<MemoryPool>::default();
    let mut limiter = limiter(100, &pool);
    assert!(limiter.memory_growing(0, PAGE, None).unwrap());
    assert!(limiter.memory_growing(PAGE, 50 * PAGE, Some(2 * PAGE)).unwrap());
    limiter.memory_grow_failed(wasmtime::Error::msg("beyond its maximum")).unwrap();
    assert_eq!(pool.used(), PAGE);
    assert!(limiter.table_growing(0, 9_000, None).unwrap());
    limiter.table_grow_failed(wasmtime::Error::msg("beyond its maximum")).unwrap();
    assert!(limiter.table_growing(0, 10_000, None).unwrap());
    assert!(limiter.table_growing(0, 1, None).is_err());
}

#[test]
fn a_store_holds_a_limited_number_of_parts() {
    let (mut store, first) = instantiate(b"\0asm\x01\0\0\0", limiter(1, &Arc::default()));
    first.unwrap();
    let module = Module::from_binary(store.engine(), b"\0asm\x01\0\0\0").unwrap();
    let more = (0..2 * MAX_PARTS).take_while(|_| Instance::new(&mut store, &module, &[]).is_ok()).count();
    assert_eq!(more, MAX_PARTS - 1);
}

#[test]
fn a_bucket_fills_again_over_its_period() {
    let mut bucket = Bucket::new(60, Duration::from_secs(60));
    let start = bucket.at;
    assert_eq!((0..100).filter(|_| bucket.take_at(start)).count(), 60);
    assert!(!bucket.take_at(start + Duration::from_millis(900)));
    assert!(bucket.take_at(start + Duration::from_millis(1_100)));
    assert_eq!((0..100).filter(|_| bucket.take_at(start + Duration::from_secs(3_600))).count(), 60);
}
