//! sushy-tools from PyPI in an environment of its own under target/tools, and processes of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kcloud_e2e::root;

const SUSHY_TOOLS: &str = "2.2.0";

/// Ends what it started, by its process id.
pub struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        // A stopped process does not end before it goes on.
        self.signal("-CONT");
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("a part did not end: {error}");
        }
    }
}

impl Part {
    pub fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The folder of its programs, made on the first run; tests in other processes wait for it.
pub async fn sushy_tools() -> Option<PathBuf> {
    match tokio::task::spawn_blocking(install).await.unwrap() {
        Ok(bin) => Some(bin),
        Err(why) => {
            eprintln!("NOT RUN: sushy-tools {SUSHY_TOOLS} from PyPI could not be installed: {why}");
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let tools = root().join("target/tools");
    std::fs::create_dir_all(&tools).map_err(|e| e.to_string())?;
    let dir = tools.join(format!("sushy-tools-{SUSHY_TOOLS}"));
    let lock = std::fs::File::create(tools.join(".sushy-tools.lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    if !dir.join("bin/sushy-emulator").is_file() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        let package = format!("sushy-tools=={SUSHY_TOOLS}");
        run(Command::new(dir.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", "--retries", "1", &package]))?;
    }
    Ok(dir.join("bin"))
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("{command:?}: {other:?}")),
    }
}

/// A line of htpasswd, with bcrypt.
pub fn htpasswd(bin: &Path, user: &str, password: &str) -> String {
    let code = "import bcrypt,sys; print(bcrypt.hashpw(sys.argv[1].encode(), bcrypt.gensalt(4)).decode().replace('$2b$', '$2y$'))";
    let out = Command::new(bin.join("python")).args(["-c", code, password]).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    format!("{user}:{}", String::from_utf8(out.stdout).unwrap())
}
