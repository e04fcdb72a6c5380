//! A running host somewhere: where it is, as whom it is asked, whom it must be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::{Response, StatusCode, Url};
use serde_json::Value;

/// How a host is reached.
#[derive(clap::Args, Debug, Clone)]
pub(super) struct Remote {
    /// Where the host answers.
    #[arg(long, env = "KCLOUD_URL", default_value = "http://127.0.0.1:8001")]
    url: String,
    /// User; the password comes from --password-file or KCLOUD_PASSWORD.
    #[arg(long, env = "KCLOUD_USER")]
    user: Option<String>,
    /// File whose first line is the password.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// File whose first line is a token or an API key; else KCLOUD_TOKEN counts.
    #[arg(long, conflicts_with_all = ["user", "password_file"])]
    token_file: Option<PathBuf>,
    /// PEM file of the authorities that the host's certificate may be from; without it the system's count.
    #[arg(long, env = "KCLOUD_CA_FILE")]
    ca_file: Option<PathBuf>,
}

enum Credential {
    Basic(String, String),
    Bearer(String),
}

/// A host that can be asked.
pub(super) struct Host {
    base: Url,
    credential: Option<Credential>,
    client: reqwest::Client,
}

fn first_line(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let line = text.lines().next().unwrap_or("").to_owned();
    ensure!(!line.is_empty(), "{} has an empty first line", path.display());
    Ok(line)
}

impl Remote {
    pub(super) fn open(self) -> anyhow::Result<Host> {
        let base = Url::parse(&self.url).with_context(|| format!("--url {:?}", self.url))?;
        ensure!(matches!(base.scheme(), "http" | "https") && base.has_host(), "--url {:?} is no http or https address", self.url);
        ensure!(base.username().is_empty() && base.password().is_none(), "--url holds no user or password; use --user and --password-file");
        let secret = |file: &Option<PathBuf>, name: &str| match file {
            Some(path) => first_line(path).map(Some),
            None => Ok(std::env::var(name).ok().filter(|v| !v.is_empty())),
        };
        let credential = match self.user {
            Some(user) => match secret(&self.password_file, "KCLOUD_PASSWORD")? {
                Some(password) => Some(Credential::Basic(user, password)),
                None => bail!("user {user:?} has no password: --password-file FILE, or KCLOUD_PASSWORD"),
            },
            None => secret(&self.token_file, "KCLOUD_TOKEN")?.map(Credential::Bearer),
        };
        let name = base.host_str().unwrap_or("").trim_matches(['[', ']']);
        let is_near = name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if credential.is_some() && base.scheme() == "http" && !is_near {
            eprintln!("warning: the credential goes over the network as it is: {} is not https", self.url);
        }
        let mut client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            // A long export is silent while it is prepared.
            .read_timeout(Duration::from_secs(300))
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = &self.ca_file {
            let pem = std::fs::read(path).with_context(|| path.display().to_string())?;
            let all = reqwest::Certificate::from_pem_bundle(&pem).with_context(|| path.display().to_string())?;
            ensure!(!all.is_empty(), "{} holds no certificate", path.display());
            client = client.tls_certs_only(all);
        }
        Ok(Host { base, credential, client: client.build()? })
    }
}

impl Host {
    /// Asks for something; what the host refuses is said in its own words.
    pub(super) async fn get(&self, path: &str, query: &[(String, String)], etag: Option<&str>) -> anyhow::Result<Response> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.get(url);
        request = match &self.credential {
            Some(Credential::Basic(user, password)) => request.basic_auth(user, Some(password)),
            Some(Credential::Bearer(token)) => request.bearer_auth(token),
            None => request,
        };
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let response = request.send().await.with_context(|| format!("{} does not answer", self.base.origin().ascii_serialization()))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let body: Value = response.json().await.unwrap_or_default();
        let detail = super::plain(body["detail"].as_str().unwrap_or("it says no reason"));
        match status {
            StatusCode::UNAUTHORIZED => bail!("the host wants to know who asks: {detail} (--user with --password-file, or KCLOUD_TOKEN)"),
            status => bail!("the host answered {}: {detail}", status.as_u16()),
        }
    }
}
