//! The client against a BMC of our own; real parts stand in the end-to-end tests.

use std::collections::HashMap;
use std::sync::Arc;

use kcloud_bmc_sim::{Faults, Model, Running, Sensor, Setup, User, sdr};

use super::*;
use crate::plugins::capabilities::{Commons, Credential, Grants, Secret, Shared};
use crate::plugins::limits::Limits;

const DEVICE_ID: (u8, u8) = (6, 1);
const READING: (u8, u8) = (4, 0x2d);

/// What it is, and how it is set.
type Fault = (&'static str, fn(&mut Faults));

async fn bmc(change: impl FnOnce(&mut Setup)) -> Running {
    let mut setup = Setup::default();
    change(&mut setup);
    Running::start(kcloud_bmc_sim::Bmc::new(setup)).await.unwrap()
}

/// A guest of a plugin whose target `t` is this BMC, within a host that others share.
fn guest_with(url: &str, commons: &Commons, login: (&str, &str), change: impl FnOnce(&mut Bmc)) -> Guest {
    let (user, password) = (login.0.to_owned(), login.1.to_owned());
    let credential = Credential {
        secret: Secret::password(move || Ok((user.clone(), password.clone()))),
        origins: vec!["ipmi://127.0.0.0/8:0".to_owned(), url.to_owned()],
    };
    let place = Place::of(url).unwrap();
    let mut bmc = Bmc { place, credential: "bmc".into(), privilege: Privilege::User, suites: Suite::ALL.to_vec() };
    change(&mut bmc);
    let grants = Grants { ipmi: Some(Policy::new([("t".to_owned(), bmc)])), ..Grants::default() };
    let credentials = HashMap::from([("bmc".to_owned(), credential)]);
    let shared = Shared::new("p", Limits::default(), grants, credentials, commons.clone(), None, Arc::default());
    let mut guest = Guest::new(Arc::new(shared));
    guest.deadline = Instant::now() + Duration::from_secs(20);
    guest
}

fn guest(bmc: &Running, commons: &Commons) -> Guest {
    guest_with(&bmc.url(), commons, ("monitor", "secret1"), |_| {})
}

fn request((netfn, cmd): (u8, u8), data: &[u8]) -> Request {
    Request { bridge: None, netfn, lun: 0, cmd, data: data.to_vec() }
}

fn readings(numbers: std::ops::Range<u8>) -> Vec<Request> {
    numbers.map(|n| request(READING, &[n])).collect()
}

#[tokio::test]
async fn the_strongest_common_suite_is_taken_whether_the_bmc_lists_them_or_not() {
    let commons = Commons::new().unwrap();
    for (suites, lists, taken) in
        [(vec![3, 17], true, 17), (vec![3, 17], false, 17), (vec![3], true, 3), (vec![3], false, 3), (vec![17], true, 17)]
    {
        let bmc = bmc(|s| (s.suites, s.lists_suites) = (suites, lists)).await;
        let answers = guest(&bmc, &commons).ask_bmc("t", vec![request(DEVICE_ID, &[]), request(READING, &[2])]).await.unwrap();
        assert_eq!(answers[0].as_ref().unwrap()[..4], [0x20, 0x81, 1, 0x42]);
        assert_eq!(answers[1].as_ref().unwrap()[0], 61);
        assert_eq!(bmc.bmc.stats().suites, [taken]);
    }
    let bmc = bmc(|s| s.suites = vec![3]).await;
    let mut strict = guest_with(&bmc.url(), &commons, ("monitor", "secret1"), |b| b.suites = vec![Suite::Seventeen]);
    let Err(IpmiError::Unreachable(why)) = strict.ask_bmc("t", readings(1..2)).await else { panic!("suite 3 was not allowed") };
    assert!(why.contains("17"), "{why}");
}

#[tokio::test]
async fn a_session_is_one_over_calls_and_instances_and_is_closed() {
    let (bmc, commons) = (bmc(|_| {}).await, Commons::new().unwrap());
    let asked = (0..6).map(|_| {
        let mut guest = guest(&bmc, &commons);
        tokio::spawn(async move { guest.ask_bmc("t", readings(1..7)).await })
    });
    for answers in futures::future::join_all(asked).await {
        assert!(answers.unwrap().unwrap().iter().all(Result::is_ok));
    }
    let stats = bmc.bmc.stats();
    assert_eq!((stats.sessions_opened, stats.sessions_closed, bmc.bmc.sessions()), (1, 0, 1));
    assert_eq!(stats.commands[&READING], 36);
    drop(commons);
    let closed = async {
        while bmc.bmc.stats().sessions_closed == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the host says goodbye");
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_another_at_once() {
    let (bmc, commons) = (bmc(|_| {}).await, Commons::new().unwrap());
    for _ in 0..20 {
        let answer = guest_with(&bmc.url(), &commons, ("monitor", "wrong"), |_| {}).ask_bmc("t", readings(1..2)).await;
        let Err(IpmiError::Auth(why)) = answer else { panic!("{answer:?}") };
        assert!(why.contains("password") && !why.contains("wrong"), "{why}");
    }
    let stats = bmc.bmc.stats();
    assert_eq!((stats.logins, stats.failed_logins), (1, 0), "no proof that is wrong is ever sent: {stats:?}");
    assert!(guest(&bmc, &commons).ask_bmc("t", readings(1..2)).await.is_ok(), "a changed credential");
    let nobody = guest_with(&bmc.url(), &commons, ("nobody", "secret1"), |_| {}).ask_bmc("t", readings(1..2)).await;
    assert!(matches!(nobody, Err(IpmiError::Auth(ref why)) if why.contains("does not know this user")), "{nobody:?}");
    let more =
        guest_with(&bmc.url(), &commons, ("monitor", "secret1"), |b| b.privilege = Privilege::Operator).ask_bmc("t", readings(1..2)).await;
    assert!(matches!(more, Err(IpmiError::Auth(ref why)) if why.contains("privilege operator")), "{more:?}");
    let long = guest_with(&bmc.url(), &commons, ("monitor", "a password that is too long"), |_| {}).ask_bmc("t", readings(1..2)).await;
    assert!(matches!(long, Err(IpmiError::Denied(ref why)) if why.contains("20")), "{long:?}");
}

#[tokio::test]
async fn a_higher_privilege_is_asked_for_where_it_is_configured() {
    let users = vec![User { name: "operator".into(), password: "secret2".into(), privilege: 3 }];
    let (bmc, commons) = (bmc(|s| s.users = users).await, Commons::new().unwrap());
    let mut guest = guest_with(&bmc.url(), &commons, ("operator", "secret2"), |b| b.privilege = Privilege::Operator);
    assert!(guest.ask_bmc("t", readings(1..2)).await.is_ok());
    assert_eq!(bmc.bmc.stats().commands[&(6, 0x3b)], 1);
}

#[tokio::test]
async fn packets_that_are_lost_doubled_late_or_forged_cost_time_only() {
    let set: [Fault; 3] =
        [("dropped", |f| f.drops_every = Some(5)), ("doubled", |f| f.duplicates = true), ("late", |f| f.delay = Duration::from_millis(30))];
    for (what, fault) in set {
        let (bmc, commons) = (bmc(|_| {}).await, Commons::new().unwrap());
        bmc.bmc.faults(fault);
        let answers = guest(&bmc, &commons).ask_bmc("t", readings(1..9)).await.unwrap();
        let values: Vec<u8> = answers.into_iter().map(|a| a.unwrap()[0]).collect();
        assert_eq!(values, [52, 61, 24, 84, 83, 201, 30, 30], "{what}");
    }
    let set: [Fault; 3] =
        [("of another session", |f| f.wrong_session = true), ("forged", |f| f.wrong_code = true), ("cut short", |f| f.truncates = true)];
    for (what, fault) in set {
        let (bmc, commons) = (bmc(|_| {}).await, Commons::new().unwrap());
        assert!(guest(&bmc, &commons).ask_bmc("t", readings(1..2)).await.is_ok());
        bmc.bmc.faults(fault);
        let mut asking = guest(&bmc, &commons);
        asking.deadline = Instant::now() + Duration::from_secs(3);
        let answers = asking.ask_bmc("t", readings(1..4)).await;
        assert!(
            answers.as_ref().is_ok_and(|all| all.iter().all(|a| *a == Err(IpmiError::Timeout))) || answers == Err(IpmiError::Timeout),
            "{what}: {answers:?}"
        );
        assert!(Instant::now() < asking.deadline, "{what}: a guest still has time to say so");
        bmc.bmc.faults(|f| *f = Faults::default());
        assert!(guest(&bmc, &commons).ask_bmc("t", readings(1..2)).await.is_ok(), "{what}");
    }
}

#[tokio::test]
async fn a_bmc_that_restarted_is_logged_in_to_again_within_the_call() {
    let (bmc, commons) = (bmc(|_| {}).await, Commons::new().unwrap());
    assert!(guest(&bmc, &commons).ask_bmc("t", readings(1..2)).await.is_ok());
    bmc.bmc.restart();
    let answers = guest(&bmc, &commons).ask_bmc("t", readings(1..4)).await.unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(bmc.bmc.stats().sessions_opened, 2);
}

#[tokio::test]
async fn a_bmc_that_dies_in_the_middle_leaves_what_it_said_and_comes_back() {
    let (bmc, commons) = (bmc(|_| {}).await, Commons::new().unwrap());
    bmc.bmc.faults(|f| f.dies_after = Some(3));
    let mut asking = guest(&bmc, &commons);
    asking.deadline = Instant::now() + Duration::from_secs(6);
    let answers = asking.ask_bmc("t", readings(1..9)).await.unwrap();
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 3);
    assert!(answers[3..].iter().all(|a| *a == Err(IpmiError::Timeout)), "{answers:?}");
    // It is called on once more for a second, not for four.
    let began = Instant::now();
    assert_eq!(guest(&bmc, &commons).ask_bmc("t", readings(1..9)).await, Err(IpmiError::Timeout));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    bmc.bmc.faults(|f| f.hangs = false);
    bmc.bmc.restart();
    assert!(guest(&bmc, &commons).ask_bmc("t", readings(1..9)).await.unwrap().iter().all(Result::is_ok));
}

#[tokio::test]
async fn nothing_that_listens_is_said_at_once() {
    let (bmc, commons) = (bmc(|_| {}).await, Commons::new().unwrap());
    let mut asking = guest(&bmc, &commons);
    let (model, address) = (bmc.bmc.clone(), bmc.address);
    drop(bmc);
    let gone = async {
        loop {
            match asking.ask_bmc("t", readings(1..2)).await {
                Err(IpmiError::Unreachable(why)) => return why,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let why = tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    assert!(why.contains("nothing listens"), "{why}");
    let back = Running::at(model, address).await.unwrap();
    assert!(guest(&back, &commons).ask_bmc("t", readings(1..2)).await.is_ok());
}

#[tokio::test]
async fn a_controller_behind_the_bmc_is_read_through_it() {
    let mut model = Model::server("SN1", 0);
    model.analog(sdr::Full { owner: 0x2c, number: 9, name: "NM Temp", ..sdr::Full::default() }, Sensor::reading(33));
    let (bmc, commons) = (bmc(|s| s.model = model).await, Commons::new().unwrap());
    let behind = |address| Request { bridge: Some(Bridge { channel: 6, address }), ..request(READING, &[9]) };
    let answers = guest(&bmc, &commons).ask_bmc("t", vec![behind(0x2c), behind(0x2e), request(READING, &[2])]).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap()[0], 33);
    assert_eq!(answers[1], Err(IpmiError::Completion(0x83)), "nobody there");
    assert_eq!(answers[2].as_ref().unwrap()[0], 61);
}

#[tokio::test]
async fn nothing_is_sent_that_the_policy_refuses() {
    let (bmc, commons) = (bmc(|_| {}).await, Commons::new().unwrap());
    let denied = |answer: Result<_, IpmiError>| matches!(answer, Err(IpmiError::Denied(_)));
    let power_off = request((0, 2), &[0]);
    assert!(denied(guest(&bmc, &commons).ask_bmc("t", vec![request(READING, &[1]), power_off.clone()]).await));
    assert!(denied(guest(&bmc, &commons).ask_bmc("other", readings(1..2)).await));
    assert!(denied(guest(&bmc, &commons).ask_bmc("t", vec![request(READING, &[1]); MAX_REQUESTS + 1]).await));
    let bridge = Some(Bridge { channel: 0, address: 0x20 });
    assert!(denied(guest(&bmc, &commons).ask_bmc("t", vec![Request { bridge, ..power_off }]).await));
    let elsewhere = guest_with(&bmc.url(), &commons, ("monitor", "secret1"), |b| b.place.port ^= 1).ask_bmc("t", readings(1..2)).await;
    assert!(matches!(elsewhere, Err(IpmiError::Denied(ref why)) if why.contains("not bound")), "{elsewhere:?}");
    assert_eq!(bmc.bmc.stats().logins, 0);
}

#[tokio::test]
async fn full_bmcs_and_wrong_answers_are_named() {
    let (bmc, commons) = (bmc(|_| {}).await, Commons::new().unwrap());
    bmc.bmc.faults(|f| f.is_full = true);
    let answer = guest(&bmc, &commons).ask_bmc("t", readings(1..2)).await;
    assert!(matches!(answer, Err(IpmiError::Unreachable(ref why)) if why.contains("sessions")), "{answer:?}");
    bmc.bmc.faults(|f| f.is_full = false);
    let answers = guest(&bmc, &commons).ask_bmc("t", vec![request(READING, &[99])]).await.unwrap();
    assert_eq!(answers, [Err(IpmiError::Completion(0xcb))]);
}

#[test]
fn a_bmc_is_logged_in_to_with_a_user_and_a_password_only() {
    let both = Secret::password(|| Ok(("monitor".to_owned(), "a:b".to_owned())));
    assert_eq!(both.user_and_password(), Ok(("monitor".to_owned(), "a:b".to_owned())));
    let bearer = Secret::Header(Arc::new(|| Ok(("authorization".to_owned(), "Bearer x".to_owned()))));
    assert!(bearer.user_and_password().unwrap_err().contains("username and password_file"));
}
