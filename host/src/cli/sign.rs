//! `plugin keygen | sign | verify`: keys and signatures that minisign makes and reads too.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};

use super::{plugin, user};
use crate::config::public_key;
use crate::plugins::engine::MAX_COMPONENT;
use crate::plugins::verify::{Bundled, ContentDigest, Demand, Key, Policy, form};
use crate::plugins::watch;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Makes a key pair: NAME.key, which signs, and NAME.pub for `[plugins] keys`. The password is read from standard input.
    Keygen {
        /// As in /secure/NAME; what is there is never overwritten.
        #[arg(long, value_name = "DIR/NAME")]
        out: PathBuf,
        /// Whoever reads the key can sign with it.
        #[arg(long)]
        no_password: bool,
    },
    /// Signs components, each into a file COMPONENT.minisig beside it. A key's password is read from standard input.
    Sign {
        /// Made by keygen or by minisign.
        #[arg(long)]
        key: PathBuf,
        #[arg(required = true)]
        components: Vec<PathBuf>,
    },
    /// Says whether a component would be trusted and by which rule. Exit status 2 when it would not load.
    Verify {
        component: PathBuf,
        #[arg(long, env = "KCLOUD_CONFIG", default_value = plugin::CONFIG)]
        config: PathBuf,
        /// Only by this public key, a file or the text itself, instead of by the configuration.
        #[arg(long)]
        key: Option<String>,
    },
}

pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Keygen { out, no_password } => keygen(&out, no_password)?,
        Command::Sign { key, components } => {
            let secret = secret(&key)?;
            for component in components {
                sign(&secret, &component).with_context(|| component.display().to_string())?;
            }
        }
        Command::Verify { component, config, key } => return verify(&component, &config, key),
    }
    Ok(ExitCode::SUCCESS)
}

fn keygen(out: &Path, no_password: bool) -> anyhow::Result<()> {
    let name = out.file_name().and_then(|n| n.to_str()).context("--out is a directory and a name, as in /secure/NAME")?;
    let (secret, public) = (out.with_file_name(format!("{name}.key")), out.with_file_name(format!("{name}.pub")));
    for file in [&secret, &public] {
        ensure!(std::fs::symlink_metadata(file).is_err(), "{} is there already, and a key is never overwritten", file.display());
    }
    let KeyPair { pk, sk } = match no_password {
        true => KeyPair::generate_unencrypted_keypair()?,
        false => {
            let password = user::password()?;
            ensure!(!password.is_empty(), "an empty password; --no-password makes a key without one");
            KeyPair::generate_encrypted_keypair(Some(password))?
        }
    };
    create(&secret, 0o600, &sk.to_box(Some("kcloud-monitor secret key"))?.to_string())?;
    create(&public, 0o644, &pk.to_box()?.to_string())?;
    println!("{}: signs; keep it where nobody else reads it", secret.display());
    println!("{}: for [plugins] keys, as this path or as {:?}", public.display(), pk.to_base64());
    Ok(())
}

/// A new file that is whole and on disk, with just these rights.
fn create(file: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut open = std::fs::File::options().write(true).create_new(true).mode(mode).open(file)?;
        // Whatever the umask says of a public key.
        open.set_permissions(std::fs::Permissions::from_mode(mode))?;
        open.write_all(text.as_bytes())?;
        open.sync_all()
    };
    write().with_context(|| file.display().to_string())
}

fn secret(file: &Path) -> anyhow::Result<SecretKey> {
    let read = || {
        let text = std::fs::read_to_string(file)?;
        let bytes =
            text.lines().nth(1).and_then(|l| BASE64.decode(l.trim()).ok()).context("two lines, a comment and the key, are expected")?;
        match bytes.get(2..4) {
            // No key derivation, so no password. minisign itself leaves the checksum of such a key empty; `SecretKeyBox` wants one.
            Some([0, 0]) => Ok(SecretKey::from_bytes(&bytes)?),
            _ => Ok(SecretKeyBox::from(text).into_secret_key(Some(user::password()?))?),
        }
    };
    read().map_err(|e: anyhow::Error| e.context(format!("{}: no minisign secret key that can be used", file.display())))
}

fn sign(secret: &SecretKey, component: &Path) -> anyhow::Result<()> {
    let candidate = watch::at(component, None, MAX_COMPONENT).map_err(anyhow::Error::msg)?;
    form(&candidate.bytes)?;
    let public = PublicKey::from_secret_key(secret)?;
    let (digest, seconds) = (ContentDigest::of(&candidate.bytes), crate::now_ms() / 1_000);
    let trusted = format!("timestamp:{seconds}\tcomponent:{}\tsha256:{digest}", candidate.name);
    let signature =
        minisign::sign(Some(&public), secret, &candidate.bytes[..], Some(&trusted), Some("signature of a KCloud Monitor plugin"))?;
    let file = PathBuf::from(format!("{}.minisig", component.display()));
    // Beside, then renamed: a host that watches the directory never sees half a signature.
    let part = component.with_file_name(format!(".{}.minisig.part", candidate.name));
    std::fs::write(&part, signature.to_string()).and_then(|()| std::fs::File::open(&part)?.sync_all())?;
    std::fs::rename(&part, &file)?;
    println!(
        "{}: component {}, sha256 {digest}, key {}",
        file.display(),
        candidate.name,
        Key::parse(&public.to_base64()).map_err(anyhow::Error::msg)?.id()
    );
    Ok(())
}

fn verify(component: &Path, config: &Path, key: Option<String>) -> anyhow::Result<ExitCode> {
    let (candidate, judged) = match key {
        None => plugin::judge(component, Some(config))?,
        Some(key) => {
            let keys = vec![public_key(&key).map_err(anyhow::Error::msg)?];
            let candidate = watch::at(component, None, MAX_COMPONENT).map_err(|e| anyhow::anyhow!("{}: {e}", component.display()))?;
            let judged =
                Policy { demand: Some(Demand::Signed), keys, bundled: Bundled::nothing(), ..Policy::default() }.judge(&candidate, &[]);
            (candidate, judged)
        }
    };
    println!("sha256  {}", ContentDigest::of(&candidate.bytes));
    match judged {
        Ok(verified) => {
            println!("trust   {}: {}", verified.admission().trust, verified.admission().rule);
            Ok(ExitCode::SUCCESS)
        }
        Err(refusal) => {
            println!("trust   none: it would not load");
            eprintln!("{}: {refusal}", component.display());
            Ok(ExitCode::from(2))
        }
    }
}
