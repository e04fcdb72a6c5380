//! What a hostile component can do to the host, to its neighbours and to what it was not given: nothing.
//!
//! Each test puts one beside a good plugin, says what has to become of it (state, blame, words), and then that the good one missed
//! no collection, that clients were answered, and that memory and threads came back ([`stage`]). The guest is
//! `tests/guests/evil`, built against every version of the contract; what no toolchain writes is written by hand ([`raw`]).

/// The host's own: what another keeps of a burst is not what a user would see.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[path = "evil/abi.rs"]
mod abi;
#[path = "evil/cpu.rs"]
mod cpu;
#[path = "evil/driver.rs"]
mod driver;
#[path = "evil/files.rs"]
mod files;
#[path = "evil/injection.rs"]
mod injection;
#[path = "nvml/library.rs"]
mod library;
#[path = "evil/memory.rs"]
mod memory;
#[path = "evil/network.rs"]
mod network;
#[path = "evil/output.rs"]
mod output;
#[path = "program/mod.rs"]
mod program;
#[path = "evil/raw.rs"]
mod raw;
#[path = "evil/schema.rs"]
mod schema;
#[path = "evil/servers.rs"]
mod servers;
#[path = "evil/stage.rs"]
mod stage;
