//! The build: `cargo xtask components | sources | build | demo | bench | test | fuzz`. Installs what it needs where it can, names it where not.

mod guests;
mod licences;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use sha2::{Digest, Sha256};

const TARGET: &str = "wasm32-unknown-unknown";
/// Crates of the plugins workspace that users get; the others are guests of the tests.
const BUNDLED: &[&str] = &[
    "all-smi",
    "amd",
    "ascend",
    "cadvisor",
    "files",
    "furiosa",
    "google-tpu",
    "intel-gaudi",
    "intel-gpu",
    "ipmi",
    "ipmi-exporter",
    "kcloud",
    "kepler",
    "kube-state-metrics",
    "kubernetes",
    "libvirt",
    "node-exporter",
    "nova",
    "nvidia-dcgm",
    "nvidia-gpu-exporter",
    "nvidia-nvml",
    "openstack",
    "pod-resources",
    "prometheus",
    "rebellions",
    "redfish",
    "smi-dump",
    "tenstorrent",
];
const GUESTS: &[&str] = &["bench-guest", "evil", "turncoat", "v0-1-0"];
/// Guests that are built against contract 0.2, too, as NAME-0-2.wasm: what the tests deny them is denied by every version.
const GUESTS_0_2: &[&str] = &["evil"];

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the plugins into target/dist/plugins.
    Components,
    /// Builds the guests of the tests that are written in other languages, where their toolchains can be had.
    Guests,
    /// Generates the SDK's bindings anew from the contract; wants `wit-bindgen` 0.63.0 in PATH.
    Bindings,
    /// Builds the plugins and writes docs/SOURCES.md from what they say of themselves.
    Sources,
    /// Builds everything that a user installs into target/dist.
    Build,
    /// Builds, then runs the simulated fleet.
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Builds everything, then measures it; figures are ratios within one run and CPU-seconds.
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Builds everything, then swaps one plugin and lets another crash for `--minutes` (60).
    Soak {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Runs the fuzz targets, or one, guided by coverage; what is found lies in tests/fuzz/findings.
    Fuzz {
        target: Option<String>,
        /// Of each target.
        #[arg(long, default_value_t = 600)]
        seconds: u32,
    },
    /// Builds the plugins, then runs every test of both workspaces.
    Test {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?.to_owned();
    match Args::parse().task {
        Task::Components => components(&root).map(drop),
        Task::Guests => guests::build(&root),
        Task::Bindings => bindings(&root),
        Task::Sources => {
            components(&root)?;
            run(cargo(&root).args(["run", "--locked", "-p", "kcloud-collector-test", "--bin", "sources"]))
        }
        Task::Build => build(&root),
        Task::Demo { args } => {
            build(&root)?;
            run(Command::new(root.join("target/dist/kcloud-monitor")).arg("demo").args(args).current_dir(&root))
        }
        Task::Bench { args } => {
            build(&root)?;
            run(cargo(&root).args(["run", "--locked", "--release", "-p", "kcloud-bench", "--"]).args(args))
        }
        Task::Soak { args } => {
            build(&root)?;
            run(cargo(&root).args(["run", "--locked", "--release", "-p", "kcloud-bench", "--", "soak"]).args(args))
        }
        Task::Fuzz { target, seconds } => fuzz(&root, target.as_deref(), seconds),
        Task::Test { args } => test(&root, &args),
    }
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(root);
    command
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} did not start"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Compiles the guests and makes components of them; gives `name=sha256,…` of the bundled ones.
fn components(root: &Path) -> Result<String> {
    wasm_target()?;
    let target_dir = root.join("target/plugins");
    let plugins = root.join("plugins");
    let compile = |what: &[&str]| {
        let mut command = cargo(&plugins);
        command.args(["build", "--locked", "--release", "--target", TARGET]).args(what).env("CARGO_TARGET_DIR", &target_dir);
        run(&mut command)
    };
    // Gives the component's digest.
    let make = |name: &str, out: &Path, suffix: &str| -> Result<String> {
        let core = target_dir.join(format!("{TARGET}/release/{}.wasm", name.replace('-', "_")));
        let component = componentize(&core)?;
        fs::create_dir_all(out)?;
        place(&component, &out.join(format!("{name}{suffix}.wasm")))?;
        Ok(hex(&Sha256::digest(&component)))
    };
    let (bundled, guests) = (root.join("target/dist/plugins"), root.join("target/guests"));
    compile(&["--workspace"])?;
    let digests: Vec<String> = BUNDLED.iter().map(|name| Ok(format!("{name}={}", make(name, &bundled, "")?))).collect::<Result<_>>()?;
    GUESTS.iter().try_for_each(|name| make(name, &guests, "").map(drop))?;
    for name in GUESTS_0_2 {
        compile(&["-p", name, "--features", "contract-0-2"])?;
        make(name, &guests, "-0-2")?;
    }
    Ok(digests.join(","))
}

/// Beside, then renamed: a host that watches the directory never sees half a file.
fn place(component: &[u8], file: &Path) -> Result<()> {
    if fs::read(file).ok().as_deref() != Some(component) {
        let part = file.with_extension("part");
        fs::write(&part, component)?;
        fs::rename(&part, file)?;
    }
    Ok(())
}

fn componentize(core: &PathBuf) -> Result<Vec<u8>> {
    let module = fs::read(core).with_context(|| format!("{} was not built", core.display()))?;
    let mut encoder = wit_component::ComponentEncoder::default().validate(true);
    encoder = encoder.module(&module).with_context(|| format!("{}: no component type in it", core.display()))?;
    encoder.encode().with_context(|| format!("{}: not a component", core.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn wasm_target() -> Result<()> {
    let out = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output().context("rustc")?;
    if Path::new(String::from_utf8_lossy(&out.stdout).trim()).is_dir() {
        return Ok(());
    }
    let added = run(Command::new("rustup").args(["target", "add", TARGET]));
    added.with_context(|| format!("plugins need the {TARGET} target: `rustup target add {TARGET}` did not work here"))
}

fn build(root: &Path) -> Result<()> {
    let digests = components(root)?;
    run(cargo(root).args(["build", "--locked", "--release", "-p", "kcloud-monitor"]).env("KCLOUD_BUNDLED_DIGESTS", digests))?;
    let dist = root.join("target/dist");
    let (binary, part) = (dist.join("kcloud-monitor"), dist.join(".kcloud-monitor.part"));
    fs::copy(root.join("target/release/kcloud-monitor"), &part)?;
    fs::rename(part, binary)?;
    fs::copy(root.join("LICENSE"), dist.join("LICENSE"))?;
    licences::write(root, &dist.join("THIRD_PARTY_LICENSES.txt"))?;
    copy_tree(&root.join("config"), &dist.join("config"))
}

/// Writes the SDK's bindings of each version: folder of the contract, and what the files' names end in.
fn bindings(root: &Path) -> Result<()> {
    for (contract, suffix) in [("v0.1", ""), ("v0.2", "_v0_2")] {
        let out = root.join("target/bindings").join(contract);
        let generate = |world: &str, macro_name: &str| -> Result<String> {
            let mut command = Command::new("wit-bindgen");
            command.arg("rust").arg(format!("wit/{contract}")).args(["--world", world, "--export-macro-name", macro_name, "--out-dir"]);
            command.arg(&out).args(["--pub-export-macro", "--format", "--default-bindings-module", "kcloud_collector_sdk::bindings"]);
            command.args(["--runtime-path", "kcloud_collector_sdk::rt"]).current_dir(root);
            run(&mut command).context("`cargo install --locked wit-bindgen-cli --version 0.63.0 --no-default-features --features rust`")?;
            Ok(fs::read_to_string(out.join(format!("{}.rs", world.replace('-', "_"))))?)
        };
        let sources = root.join("sdk/rust/src");
        fs::write(sources.join(format!("bindings{suffix}.rs")), generate("plugin-with-history", "export_plugin_with_history")?)?;
        fs::write(sources.join(format!("bindings_node{suffix}.rs")), generate("node", "export_node")?)?;
        let plugin = generate("plugin", "export_plugin")?;
        let end = "pub use __export_plugin_impl as export_plugin;\n";
        let start =
            plugin.find("#[macro_export]\nmacro_rules! __export_plugin_impl").context("wit-bindgen writes its macro in another way now")?;
        let stop = plugin.find(end).context("wit-bindgen names its macro in another way now")? + end.len();
        let head = "// The export macro of world `plugin`, cut from what `wit-bindgen` 0.63.0 generated for it. DO NOT EDIT! (`cargo xtask bindings`)\n";
        fs::write(sources.join(format!("export_plugin{suffix}.rs")), head.to_owned() + &plugin[start..stop])?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_tree(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(drop)?,
        }
    }
    Ok(())
}

fn test(root: &Path, args: &[String]) -> Result<()> {
    let digests = components(root)?;
    // The guests' own tests run natively; their closing line comes first, the host's last.
    run(cargo(&root.join("plugins")).args(["test", "--locked", "--workspace"]).env("CARGO_TARGET_DIR", root.join("target/plugins")))?;
    let nextest = cargo(root).args(["nextest", "--version"]).output().is_ok_and(|o| o.status.success());
    if !nextest {
        eprintln!("cargo-nextest is missing; installing it");
        run(cargo(root).args(["install", "--locked", "cargo-nextest"])).context("cargo-nextest: `cargo install --locked cargo-nextest`")?;
    }
    real_parts();
    guests::build(root)?;
    run(cargo(root)
        .args(["nextest", "run", "--locked", "--workspace"])
        .args(args)
        .env("KCLOUD_BUNDLED_DIGESTS", digests)
        .env("MIMALLOC_PURGE_DELAY", "0"))
}

/// What `cargo fuzz` passes to the compiler; none of it needs a nightly one.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

fn fuzz(root: &Path, only: Option<&str>, seconds: u32) -> Result<()> {
    let out = root.join("target/fuzz");
    let rustc = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let rustc = String::from_utf8(rustc.stdout)?;
    let host = rustc.lines().find_map(|l| l.strip_prefix("host: ")).context("rustc does not name its host")?;
    // Flags that are given with a target leave build scripts and macros as they are.
    let mut build = cargo(root);
    build.args(["build", "--locked", "--profile", "fuzz", "-p", "kcloud-fuzz", "--features", "coverage", "--target", host]);
    run(build.arg("--target-dir").arg(&out).env("RUSTFLAGS", COVERAGE))?;
    let here = root.join("tests/fuzz");
    let mut names =
        fs::read_dir(here.join("corpus"))?.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<Result<Vec<_>>>()?;
    names.sort();
    if let Some(only) = only {
        names.retain(|n| n == only);
    }
    for name in &names {
        let (grown, seeds, findings) = (out.join("corpus").join(name), here.join("corpus").join(name), here.join("findings").join(name));
        fs::create_dir_all(&grown)?;
        fs::create_dir_all(&findings)?;
        let mut fuzz = Command::new(out.join(host).join("fuzz/fuzz"));
        fuzz.env("KCLOUD_FUZZ_TARGET", name).arg(format!("-artifact_prefix={}/", findings.display()));
        fuzz.arg(format!("-max_total_time={seconds}")).args([
            "-timeout=60",
            "-rss_limit_mb=4096",
            "-max_len=16384",
            "-print_final_stats=1",
        ]);
        run(fuzz.arg(&grown).arg(&seeds).arg(&findings)).with_context(|| format!("{name}: a finding lies in {}", findings.display()))?;
    }
    match names.is_empty() {
        true => bail!("no such target; there are the folders of {}", here.join("corpus").display()),
        false => Ok(()),
    }
}

/// Debian packages with the programs that tests of real parts start. A test without its program says so, loudly.
const PARTS: &[(&str, &str)] = &[
    ("etcd", "etcd-server"),
    ("kubectl", "kubernetes-client"),
    ("prometheus", "prometheus"),
    // With `amtool`.
    ("prometheus-alertmanager", "prometheus-alertmanager"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("prometheus-ipmi-exporter", "prometheus-ipmi-exporter"),
    // With `sdrcomp`.
    ("ipmi_sim", "openipmi"),
    ("victoria-metrics", "victoria-metrics"),
    ("chromium", "chromium"),
    ("python3", "python3-venv"),
    ("minisign", "minisign"),
    ("npm", "npm"),
    ("ipmitool", "ipmitool"),
    ("soffice", "libreoffice-calc"),
    ("pdftotext", "poppler-utils"),
];

fn real_parts() {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let venv = || Command::new("python3").args(["-c", "import venv, ensurepip"]).output().is_ok_and(|o| o.status.success());
    let missing: Vec<&str> =
        PARTS.iter().filter(|(p, _)| !is_there(p) || (*p == "python3" && !venv())).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return;
    }
    eprintln!("installing for the tests of real parts: {}", missing.join(" "));
    let apt = |args: &[&str]| run(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"));
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(&missing);
    if let Err(error) = apt(&["update", "-qq"]).and_then(|()| apt(&install)) {
        eprintln!("NOT RUN where they are needed: these Debian packages could not be installed: {error:#}");
    }
}
