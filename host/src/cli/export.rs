//! `export`: a file of a running host. It has its name only when it is whole.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH};

use super::remote::Remote;

/// What is exported.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Watts over time.
    Power(Given),
    /// Readings over time.
    Metrics(Given),
    /// A report: energy, costs, peaks, idle cards, incidents, what is missing.
    Report(Given),
}

/// Goes to the host as it is; the host says what each may be.
#[derive(clap::Args, Debug)]
pub(super) struct Given {
    #[command(flatten)]
    remote: Remote,
    /// File or directory to write to, `-` for standard output; without it the name that the host gives, here.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// json, ndjson, csv, excel, parquet, pdf; of reports also html.
    #[arg(long, short)]
    format: Option<String>,
    #[arg(long)]
    cluster: Option<String>,
    /// Of a report: daily, weekly, monthly, custom.
    #[arg(long)]
    template: Option<String>,
    /// Of a report: first day, as 2026-01-31.
    #[arg(long)]
    start_date: Option<String>,
    #[arg(long)]
    end_date: Option<String>,
    /// Of a report: where days begin, as +09:00.
    #[arg(long, allow_hyphen_values = true)]
    timezone: Option<String>,
    /// Of a report: en, ko.
    #[arg(long)]
    lang: Option<String>,
    /// How far back, as 1d.
    #[arg(long)]
    period: Option<String>,
    /// RFC 3339, as 2026-01-01T00:00:00Z.
    #[arg(long)]
    start_time: Option<String>,
    #[arg(long)]
    end_time: Option<String>,
    #[arg(long)]
    step: Option<String>,
    #[arg(long)]
    resource_type: Option<String>,
    #[arg(long)]
    breakdown_by: Option<String>,
    #[arg(long)]
    metric_name: Option<String>,
    /// Any other parameter, as NAME=VALUE.
    #[arg(long, value_parser = pair)]
    query: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())).ok_or_else(|| "it is written NAME=VALUE".to_owned())
}

impl Given {
    fn query(&self) -> Vec<(String, String)> {
        let all = [
            ("format", &self.format),
            ("cluster", &self.cluster),
            ("template", &self.template),
            ("start_date", &self.start_date),
            ("end_date", &self.end_date),
            ("timezone", &self.timezone),
            ("lang", &self.lang),
            ("period", &self.period),
            ("start_time", &self.start_time),
            ("end_time", &self.end_time),
            ("step", &self.step),
            ("resource_type", &self.resource_type),
            ("breakdown_by", &self.breakdown_by),
            ("metric_name", &self.metric_name),
        ];
        let given = all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        given.chain(self.query.iter().cloned()).collect()
    }
}

pub(super) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let (what, given) = match command {
        Command::Power(given) => ("power", given),
        Command::Metrics(given) => ("metrics", given),
        Command::Report(given) => ("report", given),
    };
    let query = given.query();
    tokio::select! {
        done = fetch(what, given.remote, given.output, query) => done.map(|()| ExitCode::SUCCESS),
        // What was begun is dropped, and its temporary file with it.
        signal = super::told_to_stop() => {
            eprintln!("stopped; no file was written");
            Ok(ExitCode::from(128 + signal))
        }
    }
}

async fn fetch(what: &str, remote: Remote, output: Option<PathBuf>, query: Vec<(String, String)>) -> anyhow::Result<()> {
    let host = remote.open()?;
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg} {bytes} {bytes_per_sec}")?);
    bar.set_message("the host prepares it");
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    let response = host.get(&format!("/api/v1/export/{what}"), &query, None).await?;
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let named = header(CONTENT_DISPOSITION.as_str()).and_then(|d| file_name(&d));
    let name = named.unwrap_or_else(|| format!("kcloud-{what}"));
    // Rows are lines, where lines are rows.
    let rows =
        header("x-export-rows-expected").and_then(|n| n.parse().ok()).filter(|_| [".csv", ".ndjson"].iter().any(|e| name.ends_with(e)));
    let bytes = header(CONTENT_LENGTH.as_str()).and_then(|n| n.parse::<u64>().ok());
    if let Some(length) = rows.or(bytes) {
        let unit = if rows.is_some() { "{human_pos}/{human_len} rows" } else { "{bytes}/{total_bytes} {bytes_per_sec}" };
        bar.set_length(length);
        bar.set_style(ProgressStyle::with_template(&format!("{{msg}} {{wide_bar}} {unit} {{eta}}"))?);
    }
    bar.set_message(name.clone());
    let mut body = response.bytes_stream();
    let is_standard = output.as_deref() == Some(Path::new("-"));
    let to = match output {
        Some(path) if path.is_dir() => path.join(&name),
        Some(path) => path,
        None => PathBuf::from(&name),
    };
    let mut sink = if is_standard { Sink::Standard(std::io::stdout()) } else { Sink::File(temporary(&to)?) };
    let mut written = 0u64;
    while let Some(piece) = body.next().await {
        let piece = piece.context("the host ended the file before it was whole; nothing was written")?;
        written += piece.len() as u64;
        bar.inc(if rows.is_some() { piece.iter().filter(|b| **b == b'\n').count() as u64 } else { piece.len() as u64 });
        sink.write(&piece)?;
    }
    bar.finish_and_clear();
    sink.finish(&to)?;
    if !is_standard && std::io::stderr().is_terminal() {
        eprintln!("{}: {}", to.display(), indicatif::HumanBytes(written));
    }
    Ok(())
}

enum Sink {
    Standard(std::io::Stdout),
    File(tempfile::NamedTempFile),
}

impl Sink {
    fn write(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Standard(out) => out.write_all(piece).context("standard output"),
            Self::File(file) => file.write_all(piece).context("the file"),
        }
    }

    /// Only now it has its name.
    fn finish(self, to: &Path) -> anyhow::Result<()> {
        match self {
            Self::Standard(mut out) => Ok(out.flush()?),
            Self::File(file) => {
                file.as_file().sync_all()?;
                file.persist(to).map_err(|e| e.error).with_context(|| to.display().to_string())?;
                Ok(())
            }
        }
    }
}

/// Beside its final place, so that the last step is a rename. As others may read it as any file that its user makes.
fn temporary(to: &Path) -> anyhow::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let dir = to.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let all = std::fs::Permissions::from_mode(0o666);
    tempfile::Builder::new()
        .prefix(".kcloud-")
        .suffix(".part")
        .permissions(all)
        .tempfile_in(dir)
        .with_context(|| format!("cannot write in {}", dir.display()))
}

/// The name in a `Content-Disposition`; nothing that leads out of a directory.
fn file_name(disposition: &str) -> Option<String> {
    let name = disposition.split("filename=\"").nth(1)?.split('"').next()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (!name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_a_host_stays_in_its_directory() {
        assert_eq!(file_name("attachment; filename=\"kcloud-daily-2026-01-05.pdf\""), Some("kcloud-daily-2026-01-05.pdf".into()));
        for bad in [
            "attachment",
            "attachment; filename=\"../x\"",
            "attachment; filename=\".bashrc\"",
            "attachment; filename=\"\"",
            "x; filename=\"a b\"",
        ] {
            assert_eq!(file_name(bad), None, "{bad}");
        }
    }
}
