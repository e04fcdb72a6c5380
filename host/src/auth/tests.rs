use std::os::unix::fs::PermissionsExt;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

fn principal(name: &str) -> Principal {
    Principal { name: name.into(), scopes: Scope::ALL.to_vec(), proof: Proof::Local, until_ms: None }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn ask(auth: &Arc<Auth>, header: &str) -> Result<String, AuthError> {
    auth.authenticate(Some(header), "10.0.0.1").await.map(|p| p.name.to_string())
}

#[tokio::test]
async fn a_password_and_the_token_for_it_open_and_nothing_else_does() {
    let auth = Arc::new(Auth::in_memory("admin", "changeme").unwrap());
    assert_eq!(ask(&auth, &basic("admin", "changeme")).await.unwrap(), "admin");
    let token = auth.token(&auth.principal("admin").unwrap()).unwrap();
    assert_eq!(ask(&auth, &format!("Bearer {token}")).await.unwrap(), "admin");
    let elsewhere = Auth::in_memory("admin", "changeme").unwrap();
    let other = elsewhere.token(&elsewhere.principal("admin").unwrap()).unwrap();
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(r#"{"sub":"admin","iss":"kcloud-monitor","exp":99999999999}"#)
    );
    let ghost = auth.token(&Principal { name: "ghost".into(), ..auth.principal("admin").unwrap() }).unwrap();
    for bad in [
        format!("Bearer {other}"),
        format!("Bearer {none}"),
        format!("Bearer {ghost}"),
        basic("admin", "wrong"),
        basic("ghost", "changeme"),
        "Basic !!".into(),
    ] {
        assert_eq!(ask(&auth, &bad).await, Err(AuthError::Invalid), "{bad}");
    }
    assert_eq!(auth.authenticate(None, "x").await.map(|_| ()), Err(AuthError::Missing));
}

#[tokio::test]
async fn a_token_without_an_end_or_past_it_is_refused() {
    let auth = Arc::new(Auth::in_memory("admin", "changeme").unwrap());
    let sign = |claims: serde_json::Value| {
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(&auth.key)).unwrap();
        format!("Bearer {token}")
    };
    let endless = sign(serde_json::json!({"sub": "admin", "iss": ISSUER, "iat": 0}));
    assert_eq!(ask(&auth, &endless).await, Err(AuthError::Invalid));
    let old = sign(serde_json::json!({"sub": "admin", "iss": ISSUER, "iat": 0, "exp": 99_999_999_999u64}));
    assert_eq!(ask(&auth, &old).await, Err(AuthError::Invalid), "nothing in it stands for a password");
    let past = sign(serde_json::json!({"sub": "admin", "iss": ISSUER, "iat": 0, "exp": 1}));
    assert_eq!(ask(&auth, &past).await, Err(AuthError::Expired));
}

#[tokio::test]
async fn guessing_is_slowed_for_the_guesser_alone() {
    let auth = Arc::new(Auth::in_memory("admin", "changeme").unwrap());
    for _ in 0..FREE_TRIES {
        assert_eq!(ask(&auth, &basic("admin", "guess")).await, Err(AuthError::Invalid));
    }
    assert!(matches!(ask(&auth, &basic("admin", "changeme")).await, Err(AuthError::Throttled { .. })));
    assert!(auth.authenticate(Some(&basic("admin", "changeme")), "10.0.0.2").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_one_time_are_as_few_as_guesses_one_after_the_other() {
    let auth = Arc::new(Auth::in_memory("admin", "changeme").unwrap());
    let guesses = (0..40).map(|n| {
        let auth = auth.clone();
        tokio::spawn(async move { ask(&auth, &basic("admin", &format!("guess {n}"))).await })
    });
    let answers = futures::future::join_all(guesses).await;
    let checked = answers.iter().filter(|a| matches!(a, Ok(Err(AuthError::Invalid)))).count();
    assert_eq!(checked, FREE_TRIES as usize);
}

#[tokio::test]
async fn the_first_start_makes_a_password_that_is_kept_as_a_private_hash() {
    let dir = tempfile::tempdir().unwrap();
    let (auth, first) = Auth::open(dir.path()).unwrap();
    let first = first.unwrap();
    let auth = Arc::new(auth);
    assert!(ask(&auth, &basic("admin", &first.password)).await.is_ok());
    for file in ["users.json", "signing.key"] {
        assert_eq!(fs::metadata(dir.path().join(file)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(!fs::read_to_string(dir.path().join("users.json")).unwrap().contains(&first.password));
    auth.set_password("admin", "another-one").unwrap();
    assert_eq!(ask(&auth, &basic("admin", &first.password)).await, Err(AuthError::Invalid), "the remembered one is forgotten");
    let (again, first) = Auth::open(dir.path()).unwrap();
    assert!(first.is_none());
    again.add("other", "from-elsewhere", &[Scope::Read]).unwrap();
    assert!(again.set_password("nobody", "from-elsewhere").is_err(), "a misspelt name makes no user");
    auth.reload();
    assert!(ask(&auth, &basic("other", "from-elsewhere")).await.is_ok(), "a running host takes a new user");
    assert!(ask(&Arc::new(again), &basic("admin", "another-one")).await.is_ok());
}

#[tokio::test]
async fn users_of_the_first_format_are_admins_and_stay_so() {
    let dir = tempfile::tempdir().unwrap();
    let (auth, first) = Auth::open(dir.path()).unwrap();
    let hash = auth.users.read().unwrap()["admin"].password.clone();
    fs::write(dir.path().join("users.json"), serde_json::json!({ "admin": hash }).to_string()).unwrap();
    let (auth, none) = Auth::open(dir.path()).unwrap();
    assert!(none.is_none());
    assert_eq!(auth.users()["admin"], Scope::ALL);
    assert!(ask(&Arc::new(auth), &basic("admin", &first.unwrap().password)).await.is_ok());
}

#[tokio::test]
async fn an_api_key_opens_with_its_scopes_until_it_ends_or_is_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let auth = Arc::new(Auth::open(dir.path()).unwrap().0);
    let (id, key) = auth.create_key("grafana", &[Scope::Read], None).unwrap();
    let found = auth.authenticate(Some(&format!("Bearer {key}")), "x").await.unwrap();
    assert_eq!((&*found.name, &found.scopes[..]), ("key:grafana", &[Scope::Read][..]));
    let stored = fs::read_to_string(dir.path().join("keys.json")).unwrap();
    assert!(!stored.contains(key.rsplit('_').next().unwrap()), "only a digest is kept");
    assert_eq!(fs::metadata(dir.path().join("keys.json")).unwrap().permissions().mode() & 0o777, 0o600);
    for bad in [format!("{key}x"), key.replace(&id, "00000000"), key[..key.len() - 1].to_owned(), format!("kcm_{id}_"), "kcm_".into()] {
        assert_eq!(ask(&auth, &format!("Bearer {bad}")).await, Err(AuthError::Invalid), "{bad}");
    }
    let elsewhere = Auth::open(dir.path()).unwrap().0;
    assert!(elsewhere.revoke_key(&id).unwrap());
    auth.reload();
    assert_eq!(ask(&auth, &format!("Bearer {key}")).await, Err(AuthError::Invalid), "revoked beside the running host");
    let (_, past) = auth.create_key("old", &[Scope::Read], Some(Duration::ZERO)).unwrap();
    assert_eq!(ask(&auth, &format!("Bearer {past}")).await, Err(AuthError::Expired));
    assert!(auth.create_key("", &[Scope::Read], None).is_err() && auth.create_key("x", &[], None).is_err());
}

#[tokio::test]
async fn a_changed_password_ends_its_tokens_and_whoever_came_in_with_it() {
    let auth = Arc::new(Auth::in_memory("admin", "changeme").unwrap());
    let came_in = auth.authenticate(Some(&basic("admin", "changeme")), "x").await.unwrap();
    let token = auth.token(&came_in).unwrap();
    let by_token = auth.authenticate(Some(&format!("Bearer {token}")), "x").await.unwrap();
    let ticket = auth.ticket(&by_token);
    assert_eq!((auth.still(&came_in, Scope::Read), auth.still(&by_token, Scope::Admin)), (Ok(()), Ok(())));
    auth.set_password("admin", "another-one").unwrap();
    assert_eq!(ask(&auth, &format!("Bearer {token}")).await, Err(AuthError::Invalid));
    assert_eq!((auth.still(&came_in, Scope::Read), auth.still(&by_token, Scope::Read)), (Err(AuthError::Invalid), Err(AuthError::Invalid)));
    assert_eq!(auth.redeem(&ticket, Scope::Read).map(|_| ()), Err(AuthError::Invalid));
}

#[tokio::test]
async fn a_ticket_opens_no_more_than_the_key_behind_it_and_ends_with_it() {
    let auth = Arc::new(Auth::in_memory("admin", "changeme").unwrap());
    let (id, key) = auth.create_key("grafana", &[Scope::Read], None).unwrap();
    let holder = auth.authenticate(Some(&format!("Bearer {key}")), "x").await.unwrap();
    let tickets = [auth.ticket(&holder), auth.ticket(&holder)];
    assert_eq!(auth.redeem(&tickets[0], Scope::Admin).map(|_| ()), Err(AuthError::Scope(Scope::Admin)));
    assert!(auth.revoke_key(&id).unwrap());
    assert_eq!(auth.redeem(&tickets[1], Scope::Read).map(|_| ()), Err(AuthError::Invalid));
    assert_eq!(auth.token(&holder), Err(AuthError::Missing), "a token would outlive the key");
}

#[tokio::test]
async fn a_ticket_opens_once() {
    let auth = Auth::in_memory("admin", "changeme").unwrap();
    let ticket = auth.ticket(&principal("admin"));
    assert_eq!(&*auth.redeem(&ticket, Scope::Read).unwrap().name, "admin");
    assert_eq!(auth.redeem(&ticket, Scope::Read).map(|_| ()), Err(AuthError::Invalid));
    assert_eq!(auth.redeem("nothing", Scope::Read).map(|_| ()), Err(AuthError::Invalid));
}

#[test]
fn a_password_that_everybody_knows_is_seen() {
    assert!(Auth::in_memory("admin", "changeme").unwrap().has_password("changeme"));
    assert!(!Auth::in_memory("admin", "another-one").unwrap().has_password("changeme"));
}

#[test]
fn an_unknown_users_password_costs_what_a_known_ones_does() {
    let (decoy, real) = (decoy(), hash("some-password").unwrap());
    let parameters = |text: &str| text.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(parameters(&decoy), parameters(&real));
    assert!(PasswordHash::new(&decoy).is_ok() && !verify(&decoy, "some-password"));
}
