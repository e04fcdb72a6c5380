//! Who stands for a component: the build, a key, a digest, its directory, or nobody.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

mod program;

use kcloud_e2e::{Running, component, fleet, until};
use kcloud_fleet_sim::Faults;
use kcloud_monitor::cli::demo_settings;
use program::{Program, binary};
use serde_json::Value;

/// Exit status and both outputs of the program, with a line on its standard input.
fn run(args: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = binary();
    let mut child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may end without reading.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap_or_default();
    let out = child.wait_with_output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A real component that no build made: one custom section more is other bytes of the same code.
fn other(version: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(component("nvidia-dcgm")).unwrap();
    bytes.extend([0, 3, 1, b'v', version]);
    bytes
}

fn put(file: &Path, bytes: &[u8]) {
    let part = file.with_file_name(".part");
    std::fs::write(&part, bytes).unwrap();
    std::fs::rename(&part, file).unwrap();
}

fn keygen(dir: &Path, name: &str) -> PathBuf {
    let out = dir.join(name);
    let (code, said) = run(&["plugin", "keygen", "--no-password", "--out", text(&out)], "");
    assert_eq!(code, Some(0), "{said}");
    out
}

/// The program over one simulated node, whose [plugins] section the test writes while it runs.
struct Host {
    program: Program,
    base: String,
    file: PathBuf,
    _fleet: std::sync::Arc<kcloud_fleet_sim::Fleet>,
}

impl Host {
    async fn start() -> Self {
        let (fleet, address) = fleet(1, Faults::default()).await;
        let program = Program::start(|_| String::new());
        let dir = program.dir.path();
        let base = std::fs::read_to_string(dir.join("kcloud-monitor.toml")).unwrap();
        let file = dir.join("plugins/nvidia-dcgm.wasm");
        put(&file, &other(0));
        let node = fleet.node_name(0);
        let host = Self { base, file, _fleet: fleet, program };
        host.settings(&format!(
            "interval = \"300ms\"\n[grants]\nhttp = \"targets\"\n[[targets]]\nid = \"t\"\naddress = \"http://{address}/nodes/{node}/metrics\"\n"
        ));
        host
    }

    fn dir(&self) -> &Path {
        self.program.dir.path()
    }

    fn settings(&self, text: &str) {
        put(&self.dir().join("plugins.d/nvidia-dcgm.toml"), text.as_bytes());
    }

    /// Puts lines at the end of [plugins].
    fn plugins(&self, lines: &str) {
        put(&self.dir().join("kcloud-monitor.toml"), self.base.replace("[clusters.", &format!("{lines}\n[clusters.")).as_bytes());
    }

    async fn plugin(&self) -> Option<Value> {
        Some(self.program.get("/api/v1/system/plugins/nvidia-dcgm").await?["data"].clone())
    }

    /// Waits for a state whose reason and rule hold this, and gives the plugin's view.
    async fn is(&self, state: &str, trust: Option<&str>, words: &str) -> Value {
        until(&format!("{state}, trust {trust:?}, {words:?}"), async || {
            let now = self.plugin().await?;
            let said = format!("{} {}", now["reason"], now["trust_rule"]);
            (now["state"] == state && now["trust"].as_str() == trust && said.contains(words)).then_some(now)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_is_refused_until_it_is_signed_and_an_altered_byte_leaves_the_signed_version_running() {
    let host = Host::start().await;
    let key = keygen(host.dir(), "ours");
    host.is("active", Some("any"), "loopback alone").await;
    let health = host.program.get("/api/v1/system/health").await.unwrap();
    assert_eq!((&health["components"]["plugins"]["unsigned"], &health["components"]["plugins"]["status"]), (&1.into(), &"healthy".into()));
    let public = key.with_extension("pub");
    let signed = format!("trust = \"signed\"\nkeys = [{public:?}]");
    host.plugins(&signed);
    host.is("rejected", None, "has no signature").await;
    assert!(host.program.log().contains("version 0.1.0 was stopped"), "{}", host.program.log());

    let (code, said) = run(&["plugin", "sign", "--key", text(&key.with_extension("key")), text(&host.file)], "");
    assert_eq!(code, Some(0), "{said}");
    let view = host.is("active", Some("signed"), "which [plugins] keys names").await;
    let id = view["trust_key"].as_str().unwrap();
    assert!(said.contains(id) && host.program.log().contains(&format!("signed by {id}")), "{said}");
    let metrics = host
        .program
        .client
        .get(format!("http://127.0.0.1:{}/api/v1/system/metrics", host.program.port))
        .basic_auth("admin", Some(program::PASSWORD));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("kcloud_plugin_info{plugin=\"nvidia-dcgm\",version=\"0.1.0\",trust=\"signed\",digest=\""), "{metrics}");
    let cards = async || host.program.get("/api/v1/accelerators/gpus").await.unwrap()["metadata"]["total_count"].as_u64();
    until("its cards", async || (cards().await == Some(8)).then_some(())).await;

    let digest = view["digest_sha256"].clone();
    put(&host.file, &other(1));
    let view = host.is("rejected", Some("signed"), "Signature verification failed; version 0.1.0 goes on").await;
    assert_eq!(view["digest_sha256"], digest);
    let calls = view["calls_total"].as_u64().unwrap();
    until("it goes on reading", async || (host.plugin().await?["calls_total"].as_u64()? > calls + 1).then_some(())).await;
    put(&host.file, &other(0));
    host.is("active", Some("signed"), "").await;

    // A key file that is damaged changes nothing but says so; one that holds another key takes the old one's trust away.
    let ours = std::fs::read(&public).unwrap();
    put(&public, b"nonsense");
    until("the damage is said", async || host.program.log().contains("ours.pub:1: not a minisign public key").then_some(())).await;
    assert_eq!(host.program.get("/api/v1/system/status").await.unwrap()["config"]["state"], "rejected");
    host.is("active", Some("signed"), "").await;
    put(&public, &std::fs::read(keygen(host.dir(), "stranger").with_extension("pub")).unwrap());
    host.is("rejected", None, &format!("by key {id}, which is not among [plugins] keys")).await;
    put(&public, &ours);
    host.is("active", Some("signed"), "").await;

    // The digest, written down, does for a component that nobody signed.
    std::fs::remove_file(host.dir().join("plugins/nvidia-dcgm.wasm.minisig")).unwrap();
    let settings = std::fs::read_to_string(host.dir().join("plugins.d/nvidia-dcgm.toml")).unwrap();
    host.plugins("trust = \"pinned\"");
    host.is("rejected", None, "trust = \\\"pinned\\\"").await;
    host.settings(&format!("sha256 = {digest}\n{settings}"));
    host.is("active", Some("pinned"), "sha256 of its settings").await;
    host.settings(&settings);
    host.is("rejected", None, "has no signature").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_dev_dir_loads_marked_and_the_plugins_directory_goes_first() {
    let host = Host::start().await;
    let dev = host.dir().join("dev");
    std::fs::create_dir(&dev).unwrap();
    host.is("active", Some("any"), "").await;
    host.plugins("trust = \"signed\"");
    host.is("rejected", None, "has no signature").await;
    host.plugins(&format!("trust = \"signed\"\ndev_dir = {dev:?}"));
    std::fs::rename(&host.file, dev.join("nvidia-dcgm.wasm")).unwrap();
    host.is("active", Some("dev"), "it lies in dev_dir").await;
    // Watched: another version is swapped in.
    let before = host.plugin().await.unwrap()["generation"].as_u64();
    put(&dev.join("nvidia-dcgm.wasm"), &other(1));
    until("another version of it", async || (host.plugin().await?["generation"].as_u64() > before).then_some(())).await;
    put(&host.file, &other(2));
    host.is("rejected", Some("dev"), "dev_dir is not used, since dir goes first; version 0.1.0 goes on").await;
    let key = keygen(host.dir(), "ours");
    host.plugins(&format!("trust = \"signed\"\ndev_dir = {dev:?}\nkeys = [{:?}]", key.with_extension("pub")));
    run(&["plugin", "sign", "--key", text(&key.with_extension("key")), text(&host.file)], "");
    host.is("active", Some("signed"), "another nvidia-dcgm.wasm in dev_dir is not used").await;
    std::fs::remove_file(&host.file).unwrap();
    host.is("active", Some("dev"), "").await;
    host.plugins("trust = \"signed\"");
    until("it stops without dev_dir", async || host.plugin().await?["trust"].is_null().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_code_in_the_plugins_directory_is_named_and_not_loaded() {
    let (fleet, address) = fleet(1, Faults::default()).await;
    let running = Running::start(&["nvidia-dcgm"], demo_settings(&fleet, address)).await;
    running.plugin_is("nvidia-dcgm", "active").await;
    std::fs::copy("/bin/true", running.plugins_dir().join("elf.wasm")).unwrap();
    std::fs::copy(component("nvidia-dcgm"), running.plugins_dir().join("ahead.cwasm")).unwrap();
    let reason = running.plugin_is("ahead", "rejected").await;
    assert!(reason.contains("ahead.cwasm is compiled code, which is never loaded"), "{reason}");
    let reason = running.plugin_is("elf", "rejected").await;
    assert!(reason.contains("machine code (ELF"), "{reason}");
    let expected = option_env!("KCLOUD_BUNDLED_DIGESTS").map_or("any", |_| "bundled");
    assert_eq!(running.get("/api/v1/system/plugins/nvidia-dcgm").await.1["data"]["trust"], expected);
}

#[test]
fn the_commands_make_keys_sign_and_say_what_would_load() {
    let dir = tempfile::tempdir().unwrap();
    Program::prepare(dir.path(), 1, "");
    let config = dir.path().join("kcloud-monitor.toml");
    let file = dir.path().join("plugins/nvidia-dcgm.wasm");
    put(&file, &other(0));
    let (file, config_text) = (text(&file).to_owned(), std::fs::read_to_string(&config).unwrap());
    let verify = |more: &[&str]| run(&[&["plugin", "verify", file.as_str()], more].concat(), "");
    let by_config = ["--config", text(&config)];
    let (code, said) = verify(&by_config);
    assert!(code == Some(0) && said.contains("trust   any: trust is not set and the server listens on loopback alone"), "{said}");
    // The rule for a server that all can reach; nothing listens here.
    std::fs::write(&config, config_text.replace("127.0.0.1:1\"", "0.0.0.0:1\"")).unwrap();
    let (code, said) = verify(&by_config);
    assert!(code == Some(2) && said.contains("not trusted: where the server listens beyond loopback"), "{said}");
    let (code, said) = run(&["plugin", "check", "nvidia-dcgm", "--config", text(&config)], "");
    assert!(code == Some(2) && said.contains("beyond loopback"), "{said}");
    let (_, said) = run(&["plugin", "list", "--config", text(&config)], "");
    assert!(said.contains("would not run: not trusted"), "{said}");
    let (code, said) = run(&["plugin", "inspect", &file, "--config", text(&config)], "");
    assert!(code == Some(0) && said.contains("trust   none; not trusted") && said.contains("asks    log, http"), "{said}");

    let key = dir.path().join("ours");
    let keygen = |input| run(&["plugin", "keygen", "--out", text(&key)], input);
    assert!(keygen("\n").1.contains("an empty password"));
    let (code, said) = keygen("correct horse\n");
    assert_eq!(code, Some(0), "{said}");
    let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
    let (secret, public) = (key.with_extension("key"), key.with_extension("pub"));
    assert_eq!((mode(&secret), mode(&public)), (0o600, 0o644));
    let made = std::fs::read(&secret).unwrap();
    let (code, said) = keygen("other\n");
    assert!(code != Some(0) && said.contains("is there already") && std::fs::read(&secret).unwrap() == made, "{said}");
    let sign = |password: &str, file: &str| run(&["plugin", "sign", "--key", text(&secret), file], password);
    let (code, said) = sign("wrong\n", &file);
    assert!(code != Some(0) && said.contains("Wrong password"), "{said}");
    let (code, said) = sign("correct horse\n", "/bin/true");
    assert!(code != Some(0) && said.contains("NAME.wasm"), "{said}");
    let (code, said) = sign("correct horse\n", &file);
    assert!(code == Some(0) && said.contains("component nvidia-dcgm, sha256 "), "{said}");
    let (code, said) = verify(&["--key", text(&public)]);
    assert!(code == Some(0) && said.contains("trust   signed by "), "{said}");
    let (code, said) = verify(&["--key", text(&secret)]);
    assert!(code != Some(0) && said.contains("a secret key"), "{said}");
    let stranger = self::keygen(dir.path(), "stranger").with_extension("pub");
    let (code, said) = verify(&["--key", text(&stranger)]);
    assert!(code == Some(2) && said.contains("not among [plugins] keys"), "{said}");
    // The same bytes and signature under another name.
    for end in ["", ".minisig"] {
        std::fs::copy(format!("{file}{end}"), dir.path().join(format!("plugins/other.wasm{end}"))).unwrap();
    }
    let (code, said) = run(&["plugin", "verify", text(&dir.path().join("plugins/other.wasm")), "--key", text(&public)], "");
    assert!(code == Some(2) && said.contains("made for component \"nvidia-dcgm\", not \"other\""), "{said}");

    std::fs::write(&config, config_text.replace("[clusters.", &format!("keys = [{public:?}, \"/no/such.pub\"]\n[clusters."))).unwrap();
    let (code, said) = run(&["config", "check", text(&config)], "");
    assert!(code == Some(2) && said.contains("[plugins] keys: /no/such.pub: No such file"), "{said}");
    std::fs::write(&config, config_text.replace("[clusters.", &format!("keys = [{public:?}]\n[clusters."))).unwrap();
    let (_, said) = run(&["plugin", "list", "--config", text(&config)], "");
    assert!(said.contains("would not run: its signature") || said.contains("it asks for http"), "{said}");
    std::fs::write(dir.path().join("plugins.d/nvidia-dcgm.toml"), "[grants]\nhttp = \"targets\"\n").unwrap();
    let (code, said) = run(&["plugin", "check", "nvidia-dcgm", "--config", text(&config)], "");
    assert!(code == Some(0) && said.contains("trust signed by "), "{said}");
    let (_, said) = run(&["plugin", "list", "--config", text(&config)], "");
    assert!(said.contains("trust signed by "), "{said}");
}

#[test]
fn debians_minisign_and_we_believe_each_others_signatures() {
    let minisign = |dir: &Path, args: &[&str]| Command::new("minisign").current_dir(dir).args(args).stdin(Stdio::null()).output();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    if minisign(dir, &["-v"]).is_err() {
        eprintln!("NOT RUN: minisign is missing; `apt-get install minisign` (cargo xtask test tries to)");
        return;
    }
    let theirs = |args: &[&str]| {
        let out = minisign(dir, args).unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    };
    let file = dir.join("p.wasm");
    let ours = |key: &str| run(&["plugin", "verify", text(&file), "--key", text(&dir.join(key))], "");
    std::fs::write(&file, other(0)).unwrap();
    let (ok, said) = theirs(&["-G", "-W", "-p", "t.pub", "-s", "t.key"]);
    assert!(ok, "{said}");
    for form in [&["-l"][..], &[]] {
        std::fs::write(&file, other(0)).unwrap();
        let (ok, said) = theirs(&[form, &["-S", "-W", "-s", "t.key", "-m", "p.wasm"]].concat());
        assert!(ok, "{said}");
        let (code, said) = ours("t.pub");
        assert!(code == Some(0) && said.contains("signed by"), "{form:?}: {said}");
        std::fs::write(&file, other(1)).unwrap();
        let (code, said) = ours("t.pub");
        assert!(code == Some(2) && said.contains("Signature verification failed"), "{form:?}: {said}");
    }
    // Ours with our key, then with theirs.
    let key = keygen(dir, "o");
    for (secret, public) in [(key.with_extension("key"), "o.pub"), (dir.join("t.key"), "t.pub")] {
        std::fs::write(&file, other(1)).unwrap();
        let (code, said) = run(&["plugin", "sign", "--key", text(&secret), text(&file)], "");
        assert_eq!(code, Some(0), "{said}");
        let (ok, said) = theirs(&["-V", "-p", public, "-m", "p.wasm"]);
        assert!(ok && said.contains("component:p"), "{said}");
        std::fs::write(&file, other(2)).unwrap();
        let (ok, said) = theirs(&["-V", "-p", public, "-m", "p.wasm"]);
        assert!(!ok, "{said}");
    }
}
