//! The installed program, started as an operator does. Each test file uses a part of it.
#![allow(dead_code)]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kcloud_e2e::component;
use serde_json::Value;

/// The program with files of its own on a free loopback port.
pub struct Program {
    pub dir: tempfile::TempDir,
    pub child: Child,
    pub port: u16,
    pub client: reqwest::Client,
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("the program did not end: {error}");
        }
    }
}

pub const PASSWORD: &str = "a-long-password";

pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kcloud-monitor-under-test"));
    command.env_remove("KCLOUD_LOG");
    command
}

impl Program {
    pub fn prepare(dir: &Path, port: u16, more: &str) {
        for sub in ["plugins", "plugins.d", "data"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
        }
        std::fs::copy(component("nvidia-dcgm"), dir.join("plugins/nvidia-dcgm.wasm")).unwrap();
        let text = format!(
            "data_dir = {:?}\n[server]\nlisten = \"127.0.0.1:{port}\"\n{more}\n[plugins]\ndir = {:?}\nconfig_dir = {:?}\n[clusters.cluster1]\n",
            dir.join("data"),
            dir.join("plugins"),
            dir.join("plugins.d")
        );
        std::fs::write(dir.join("kcloud-monitor.toml"), text).unwrap();
    }

    pub fn spawn(dir: &Path, environment: &[(&str, &str)]) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let mut command = binary();
        command.envs(environment.iter().copied()).args(["serve", "--config"]).arg(dir.join("kcloud-monitor.toml"));
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    pub fn start(more: impl Fn(&Path) -> String) -> Self {
        Self::start_with(more, &[])
    }

    pub fn start_with(more: impl Fn(&Path) -> String, environment: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::prepare(dir.path(), port, &more(dir.path()));
        let mut passwd = binary()
            .args(["user", "passwd", "admin", "--data-dir"])
            .arg(dir.path().join("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(passwd.stdin.take().unwrap(), "{PASSWORD}").unwrap();
        assert!(passwd.wait().unwrap().success());
        let child = Self::spawn(dir.path(), environment);
        Self { dir, child, port, client: reqwest::Client::new() }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub async fn get(&self, path: &str) -> Option<Value> {
        let request = self.client.get(format!("http://127.0.0.1:{}{path}", self.port)).basic_auth("admin", Some(PASSWORD));
        serde_json::from_str(&request.send().await.ok()?.text().await.ok()?).ok()
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}
