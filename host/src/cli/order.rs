//! Orders to a running host, over the socket in its data directory: whoever may write there may give them.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::config::Config;

fn client(config: &Config) -> anyhow::Result<reqwest::Client> {
    let socket = config.admin_socket();
    anyhow::ensure!(socket.exists(), "no host runs over {}: {} is not there", config.data_dir.display(), socket.display());
    Ok(reqwest::Client::builder().unix_socket(socket).timeout(Duration::from_secs(30)).build()?)
}

async fn ask(config: &Config, method: reqwest::Method, path: &str) -> anyhow::Result<Result<Value, String>> {
    let request = client(config)?.request(method, format!("http://localhost/api/v1/system/plugins{path}"));
    let response = request.send().await.context("the host does not answer on its socket")?;
    let is_good = response.status().is_success();
    let body: Value = response.json().await.context("the host's answer")?;
    match is_good {
        true => Ok(Ok(body)),
        false => Ok(Err(body["detail"].as_str().unwrap_or("the host refused it").to_owned())),
    }
}

/// Gives one order; says what was done, or why not.
pub(super) async fn order(path: &Path, plugin: &str, what: &str) -> anyhow::Result<ExitCode> {
    let config = Config::load(path, std::env::vars())?;
    anyhow::ensure!(!plugin.is_empty() && !plugin.contains(['/', '?', '#', '%']), "{plugin:?} is no plugin's name");
    match ask(&config, reqwest::Method::POST, &format!("/{plugin}/{what}")).await? {
        Ok(done) => {
            println!("{plugin}: {}", done["message"].as_str().unwrap_or("done"));
            Ok(ExitCode::SUCCESS)
        }
        Err(why) => {
            eprintln!("{why}");
            Ok(ExitCode::from(2))
        }
    }
}

/// Where the plugins of a running host stand.
pub(super) async fn status(path: &Path, plugin: Option<&str>, is_json: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(path, std::env::vars())?;
    let body = match ask(&config, reqwest::Method::GET, &plugin.map(|p| format!("/{p}")).unwrap_or_default()).await? {
        Ok(body) => body,
        Err(why) => {
            eprintln!("{why}");
            return Ok(ExitCode::from(2));
        }
    };
    if is_json {
        println!("{}", serde_json::to_string_pretty(&body["data"])?);
        return Ok(ExitCode::SUCCESS);
    }
    let one = |p: &Value| {
        let text = |key: &str| p[key].as_str().unwrap_or("-").to_owned();
        println!("{:<24} {:<22} {:<10} {}", text("name"), text("state"), text("version"), p["reason"].as_str().unwrap_or(""));
    };
    match body["data"].as_array() {
        Some(all) => all.iter().for_each(one),
        None => {
            one(&body["data"]);
            for t in body["data"]["transitions"].as_array().into_iter().flatten() {
                println!(
                    "  {}  {} → {}  {}",
                    t["at"].as_str().unwrap_or(""),
                    t["from"].as_str().unwrap_or(""),
                    t["to"].as_str().unwrap_or(""),
                    t["reason"].as_str().unwrap_or("")
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
