//! A stranger's component: compiled, linked with no rights, described, configured and called once, under tiny budgets. The
//! first byte chooses how the input becomes one, or that it is what a good one answers, byte for byte.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbitrary::Unstructured;
use kcloud_monitor::catalogue::Catalogue;
use kcloud_monitor::plugins::Runtime;
use kcloud_monitor::plugins::capabilities::{Commons, Grants, Shared, log};
use kcloud_monitor::plugins::contract::Target;
use kcloud_monitor::plugins::generation::{Compiled, Generation};
use kcloud_monitor::plugins::limits::Limits;
use kcloud_monitor::plugins::verify::Verified;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve, WorldId};

/// What a component's first eight bytes are.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MEMORY: usize = 4 << 20;
const WALL: Duration = Duration::from_millis(500);

struct World {
    runtime: Arc<Runtime>,
    commons: Commons,
    tokio: tokio::runtime::Runtime,
    resolve: Resolve,
    /// A world that asks for no right, and a core module of its shape.
    world: WorldId,
    shape: Vec<u8>,
    /// A whole component whose functions all trap.
    whole: Vec<u8>,
    catalogue: Catalogue,
    /// Answers with the memory that the target's `config` spells.
    answering: Generation,
}

/// `collect` answers with what lies at 4096: bytes that the target's `config` spells, two letters from `a` to `p` each.
const ANSWERING: &str = r#"(module
  (memory (export "memory") 4)
  (global $next (mut i32) (i32.const 131072))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "INTERFACE#describe") (result i32) (i32.const 64))
  (func (export "INTERFACE#configure") (param i32 i32) (result i32) (i32.const 0))
  (func (export "INTERFACE#discover") (result i32) (i32.const 0))
  (func (export "INTERFACE#collect") (param $arguments i32) (result i32)
    (local $from i32) (local $end i32) (local $to i32)
    (local.set $from (i32.load offset=44 (local.get $arguments)))
    (local.set $end (i32.add (local.get $from) (i32.load offset=48 (local.get $arguments))))
    (local.set $to (i32.const 4096))
    (memory.fill (i32.const 4096) (i32.const 0) (i32.const 32768))
    (global.set $next (i32.const 131072))
    (block $done (loop $more
      (br_if $done (i32.ge_u (local.get $from) (local.get $end)))
      (i32.store8 (local.get $to) (i32.or
        (i32.shl (i32.sub (i32.load8_u (local.get $from)) (i32.const 97)) (i32.const 4))
        (i32.sub (i32.load8_u offset=1 (local.get $from)) (i32.const 97))))
      (local.set $from (i32.add (local.get $from) (i32.const 2)))
      (local.set $to (i32.add (local.get $to) (i32.const 1)))
      (br $more)))
    (i32.const 4096))
  (data (i32.const 64) "\c8\00\00\00\04\00\00\00\cc\00\00\00\05\00\00\00")
  (data (i32.const 96) "\00\01\00\00\01\00\00\00\d1\00\00\00\02\00\00\00")
  (data (i32.const 200) "fuzz1.0.0{}power_wattswatts")
  (data (i32.const 256) "\d3\00\00\00\0b\00\00\00\00\00\00\00\00\00\00\00\de\00\00\00\05\00\00\00")
)"#;

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut resolve = Resolve::default();
        let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/v0.1");
        let (package, _) = resolve.push_dir(contract).expect("the contract");
        let interface = |name: &str| resolve.packages[package].name.interface_id(name);
        let (log, clock, collector) = (interface("log"), interface("clock"), interface("collector"));
        let text = format!("package kcloud:fuzz;\nworld guest {{ import {log}; import {clock}; export {collector}; }}\n");
        let package = resolve.push_str("fuzz.wit", &text).expect("a world without rights");
        let world = resolve.select_world(&[package], None).expect("one world");
        let shape = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
        let whole = component(&resolve, world, shape.clone()).expect("a component that traps");
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
        let commons = Commons::new().expect("a client");
        let (runtime, catalogue) = (Arc::new(Runtime::new(None).expect("wasmtime")), Catalogue::default());
        let core = wat::parse_str(ANSWERING.replace("INTERFACE", &collector)).expect("a core module");
        let answering = component(&resolve, world, core).expect("a component that answers");
        let verified = Verified::vouched("fuzz", answering).expect("a component");
        let compiled = Compiled::new(&runtime, &verified).expect("it compiles");
        let config = serde_json::json!({});
        let load = Generation::new(runtime.clone(), &catalogue, compiled, shared(&commons), &config, 1, 0);
        let answering = tokio.block_on(load).expect("it loads");
        World { runtime, commons, tokio, resolve, world, shape, whole, catalogue, answering }
    })
}

fn component(resolve: &Resolve, world: WorldId, mut core: Vec<u8>) -> Option<Vec<u8>> {
    embed_component_metadata(&mut core, resolve, world, StringEncoding::UTF8).ok()?;
    ComponentEncoder::default().module(&core).ok()?.encode().ok()
}

pub fn run(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let w = world();
    let bytes = match mode % 8 {
        0 => Some(rest.to_vec()),
        1 => wasm_smith::Component::new(config(), &mut Unstructured::new(rest)).ok().map(|c| c.to_bytes()),
        2 => edited(&w.whole, rest),
        3 => {
            let shaped = wasm_smith::Config { module_shape: Some(w.shape.clone()), ..config() };
            let module = wasm_smith::Module::new(shaped, &mut Unstructured::new(rest)).ok();
            module.and_then(|m| component(&w.resolve, w.world, m.to_bytes()))
        }
        _ => return answer(w, rest),
    };
    if let Some(bytes) = bytes {
        load(w, &bytes);
    }
}

/// The features that the host's engine has.
fn config() -> wasm_smith::Config {
    wasm_smith::Config {
        exceptions_enabled: false,
        gc_enabled: false,
        threads_enabled: false,
        tail_call_enabled: false,
        relaxed_simd_enabled: false,
        memory64_enabled: false,
        max_memory32_bytes: 8 << 20,
        max_instructions: 60,
        max_funcs: 20,
        max_memories: 1,
        ..wasm_smith::Config::default()
    }
}

/// The whole component with bytes replaced: pairs of a place (two bytes) and what stands there then.
fn edited(whole: &[u8], edits: &[u8]) -> Option<Vec<u8>> {
    let mut out = whole.to_vec();
    for edit in edits.chunks_exact(3).take(16) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % out.len();
        out[at] = edit[2];
    }
    Some(out)
}

/// Tiny budgets, and no rights.
fn shared(commons: &Commons) -> Shared {
    let ms = Duration::from_millis;
    let limits = Limits {
        cpu: ms(20),
        describe_cpu: ms(20),
        memory: MEMORY,
        table_elements: 100,
        output_bytes: 64 << 10,
        log_lines: 4,
        ..Limits::default()
    };
    Shared::new("fuzz", limits, Grants::default(), HashMap::new(), commons.clone(), None, Arc::<log::Tail>::default())
}

fn target(config: &str) -> Target {
    Target {
        id: "a".into(),
        address: String::new(),
        cluster: "default".into(),
        labels: Vec::new(),
        credential: None,
        config: config.into(),
    }
}

/// What `collect` answers, byte for byte.
fn answer(w: &World, memory: &[u8]) {
    let letter = |n: u8| char::from(b'a' + n);
    let spelled: String = memory.iter().flat_map(|b| [letter(b >> 4), letter(b & 15)]).collect();
    match w.tokio.block_on(w.answering.collect(&w.catalogue, &target(&spelled), WALL)) {
        Ok(batch) => assert!(batch.points.iter().all(|p| (p.subject as usize) < batch.subjects.len())),
        Err(failure) => crate::assert_tellable(&failure.to_string()),
    }
}

fn load(w: &World, bytes: &[u8]) {
    let verified = match Verified::vouched("fuzz", bytes.to_vec()) {
        Ok(verified) => verified,
        Err(refusal) => return crate::assert_tellable(&refusal.to_string()),
    };
    let compiled = match Compiled::new(&w.runtime, &verified) {
        Ok(compiled) => compiled,
        Err(error) => return crate::assert_tellable(&error.to_string()),
    };
    assert!(bytes.starts_with(COMPONENT), "accepted what is no component");
    let asked = compiled.rights_asked.clone();
    let catalogue = Catalogue::default();
    let config = serde_json::json!({});
    w.tokio.block_on(async {
        let generation = match Generation::new(w.runtime.clone(), &catalogue, compiled, shared(&w.commons), &config, 1, 0).await {
            Ok(generation) => generation,
            Err(error) => return crate::assert_tellable(&error.to_string()),
        };
        assert!(asked.iter().all(|right| ["log", "clock", "types"].contains(&right.as_str())), "no right was granted: {asked:?}");
        if let Err(failure) = generation.collect(&catalogue, &target("{}"), WALL).await {
            crate::assert_tellable(&failure.to_string());
        }
        let used = generation.memory_high_water.load(std::sync::atomic::Ordering::Relaxed);
        assert!(used <= MEMORY as u64, "{used} bytes in use");
    });
}
