//! Guests of the tests that other toolchains make: Python, JavaScript, and Rust for wasm32-wasip2. Tools lie under
//! `target/tools`, one folder a version. One that cannot be had leaves its guest out, and says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{cargo, copy_tree, hex, place, run};

const COMPONENTIZE_PY: &str = "0.25.1";
const COMPONENTIZE_QJS: &str = "0.4.5";
const WASIP2: &str = "wasm32-wasip2";

pub(super) fn build(root: &Path) -> Result<()> {
    let (tools, guests) = (root.join("target/tools"), root.join("tests/guests"));
    // A world of their own in a copy of the contract: what they import is what they ask for.
    let wit = tools.join("wit");
    if wit.exists() {
        fs::remove_dir_all(&wit)?;
    }
    copy_tree(&root.join("wit/v0.1"), &wit)?;
    fs::copy(guests.join("narrow.wit"), wit.join("narrow.wit"))?;

    let venv = tools.join(format!("componentize-py-{COMPONENTIZE_PY}"));
    let python = guests.join("python");
    let install = || {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let package = format!("componentize-py=={COMPONENTIZE_PY}");
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", "--retries", "1", &package]))
    };
    let tool = venv.join("bin/componentize-py");
    let make = |out: &Path| {
        let mut command = Command::new(&tool);
        command.arg("-q").arg("-d").arg(&wit).args(["-w", "narrow", "componentize", "app", "-p"]).arg(&python).arg("-o").arg(out);
        run(&mut command)
    };
    guest(root, "python", &[&wit, &python], (&tool, &install), &make)?;

    let modules = tools.join(format!("componentize-qjs-{COMPONENTIZE_QJS}"));
    let javascript = guests.join("javascript");
    let install = || {
        fs::create_dir_all(&modules)?;
        let package = format!("componentize-qjs@{COMPONENTIZE_QJS}");
        run(Command::new("npm")
            .args(["install", "--silent", "--no-fund", "--no-audit", "--fetch-retries=1", "--prefix"])
            .arg(&modules)
            .arg(package))
    };
    let tool = modules.join("node_modules/componentize-qjs/cli.mjs");
    let make = |out: &Path| {
        let mut command = Command::new("node");
        // Without --sync it asks for asynchronous components, which this host leaves out.
        command.arg(&tool).arg("--wit").arg(&wit).args(["-n", "narrow", "--sync", "--js"]).arg(javascript.join("app.js"));
        run(command.arg("-o").arg(out).stdout(std::process::Stdio::null()))
    };
    guest(root, "javascript", &[&wit, &javascript], (&tool, &install), &make)?;
    wasip2(root)
}

/// Makes `target/guests/NAME.wasm` unless it was made of the same sources by the same tool.
fn guest(
    root: &Path,
    name: &str,
    sources: &[&Path],
    (tool, install): (&Path, &dyn Fn() -> Result<()>),
    make: &dyn Fn(&Path) -> Result<()>,
) -> Result<()> {
    let dir = root.join("target/guests");
    let (out, stamp, part) = (dir.join(format!("{name}.wasm")), dir.join(format!("{name}.made-of")), dir.join(format!(".{name}.wasm")));
    let mut hash = Sha256::new();
    hash.update(tool.to_string_lossy().as_bytes());
    for source in sources {
        let mut files: Vec<PathBuf> = fs::read_dir(source)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
        files.sort();
        for file in files.into_iter().filter(|f| f.is_file()) {
            hash.update(fs::read(file)?);
        }
    }
    let made_of = hex(&hash.finalize());
    if out.is_file() && fs::read_to_string(&stamp).is_ok_and(|s| s == made_of) {
        return Ok(());
    }
    let installed = if tool.is_file() { Ok(()) } else { install() };
    if let Err(error) = installed {
        return left_out(&out, name, &error);
    }
    make(&part).with_context(|| format!("{name}.wasm"))?;
    fs::rename(part, out)?;
    Ok(fs::write(stamp, made_of)?)
}

/// An ordinary component of Rust's own: the bundled plugin, with its standard library on top of WASI.
fn wasip2(root: &Path) -> Result<()> {
    let (name, out) = ("nvidia-dcgm-wasip2", root.join("target/guests/nvidia-dcgm-wasip2.wasm"));
    let libraries = Command::new("rustc").args(["--print", "target-libdir", "--target", WASIP2]).output()?;
    if !Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir()
        && let Err(error) = run(Command::new("rustup").args(["target", "add", WASIP2]))
    {
        return left_out(&out, name, &error);
    }
    let target_dir = root.join("target/plugins");
    let mut build = cargo(&root.join("plugins"));
    run(build.args(["build", "--locked", "--release", "-p", "nvidia-dcgm", "--target", WASIP2]).env("CARGO_TARGET_DIR", &target_dir))?;
    place(&fs::read(target_dir.join(WASIP2).join("release/nvidia_dcgm.wasm"))?, &out)
}

/// What an older tool made must not be tested in its place.
fn left_out(out: &Path, name: &str, error: &anyhow::Error) -> Result<()> {
    eprintln!("NOT RUN where it is needed: {name}.wasm, since its toolchain could not be installed: {error:#}");
    match fs::remove_file(out) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
