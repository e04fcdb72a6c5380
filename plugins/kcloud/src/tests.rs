//! Answers of a far host as it writes them.

use std::collections::VecDeque;

use kcloud_collector_sdk::bindings::kcloud::collector::types::{Batch as Out, Coverage};
use kcloud_collector_sdk::{GapReason, Label};

use super::*;
use crate::feed::Pieces;

/// A body in pieces of a few bytes, so that lines are cut anywhere.
struct Body(VecDeque<Vec<u8>>);

impl Pieces for Body {
    fn read(&mut self, _: u32, _: u32) -> Result<Option<Vec<u8>>, CollectError> {
        Ok(self.0.pop_front())
    }
}

#[derive(Default)]
struct World {
    far: Far,
    cursor: Option<Vec<u8>>,
    asked: Vec<String>,
}

impl World {
    /// One call with all its pages.
    fn read(&mut self, text: &str) -> Result<Vec<Out>, CollectError> {
        let (mut pages, mut page, target) = (Vec::new(), None, target());
        let mut cursor = self.cursor.clone();
        loop {
            let mut batch = Batch::new(far::definitions());
            (batch.page, batch.cursor) = (page.take(), self.cursor.clone());
            let asked = &mut self.asked;
            let mut open = |url: &str, _: u32| -> Result<Box<dyn Pieces>, CollectError> {
                asked.push(url.to_owned());
                Ok(Box::new(Body(text.as_bytes().chunks(7).map(<[u8]>::to_vec).collect())))
            };
            self.far.collect(&target, "cluster1", 16, 5_000, &mut batch, &mut open)?;
            let mut out = batch.finish();
            page = out.next_page.take();
            cursor = out.cursor.take().or(cursor);
            pages.push(out);
            if page.is_none() {
                self.cursor = cursor;
                return Ok(pages);
            }
        }
    }

    fn one(&mut self, text: &str) -> Out {
        let mut pages = self.read(text).unwrap();
        assert_eq!(pages.len(), 1);
        pages.remove(0)
    }
}

fn target() -> Target {
    Target {
        id: "agent1".into(),
        address: "http://10.0.0.1:8001/".into(),
        cluster: "cluster1".into(),
        labels: vec![],
        credential: None,
        config: "{}".into(),
    }
}

const AT: i64 = 1_764_000_000_000;

fn head(epoch: &str, sequence: u64, since: Option<u64>) -> String {
    let since = since.map_or("null".to_owned(), |s| s.to_string());
    format!(
        r#"{{"snapshot":{{"format":1,"version":"0.2.0","epoch":"{epoch}","sequence":{sequence},"at":{AT},"cluster":"cluster1","since":{since},"anew":null}}}}
{{"sources":[{{"index":4,"plugin":"nvidia-dcgm","target":"gpus","cluster":"cluster1","interval_ms":5000,"last_success":{AT},"failures":2,"error":"no answer","gone":false}}]}}
{{"metrics":[["power_watts","watts","gauge","measured",[]],["energy_joules","joules","counter","derived",[]],["health","state","state","measured",["ok","critical"]]]}}
{{"sets":[[0,1],[2],[0]]}}
"#
    )
}

fn end(subjects: usize, events: usize, gone: usize) -> String {
    format!("{{\"end\":{{\"subjects\":{subjects},\"events\":{events},\"gone\":{gone}}}}}\n")
}

fn whole() -> String {
    let card = format!(
        r#"{{"subject":{{"id":"GPU-1","kind":"accelerator","parent":"node/cluster1/worker1","node":"worker1","identity":{{"uuid":"GPU-1"}},"labels":{{"model":"H100","observed_by":"far/x/y"}},"life":"live","seen":{AT},"readings":[[0,4,{AT},[71.5,"stale"]],[1,4,{},[1.0]]]}}}}"#,
        AT - 5
    );
    let lone = format!(
        r#"{{"subject":{{"id":"GPU-2","kind":"accelerator","node":"worker2","identity":{{"device":"nvidia0"}},"labels":{{}},"life":"stale","seen":{},"readings":[[2,4,{},[60]]]}}}}"#,
        AT - 90_000,
        AT - 90_001
    );
    let event = format!(
        r#"{{"event":{{"subject":"GPU-1","at":{AT},"severity":"critical","code":"xid:79","message":"off the bus","key":"now:xid"}}}}"#
    );
    let node = format!(
        r#"{{"subject":{{"id":"node/cluster1/worker1","kind":"node","identity":{{"node":"worker1"}},"labels":{{}},"life":"live","seen":{AT},"readings":[]}}}}"#
    );
    format!("{}{node}\n{card}\n{lone}\n{event}\n{}", head("e", 7, None), end(3, 1, 0))
}

fn find<'a>(out: &'a Out, key: &str) -> (u32, &'a [Label], &'a [Label]) {
    let is = |s: &kcloud_collector_sdk::bindings::kcloud::collector::types::Subject| s.identity.iter().any(|l| l.value == key);
    let at = out.subjects.iter().position(is).unwrap();
    (at as u32, &out.subjects[at].identity, &out.subjects[at].labels)
}

fn text<'a>(labels: &'a [Label], key: &str) -> &'a str {
    labels.iter().find(|l| l.key == key).map_or("", |l| &l.value)
}

/// Place of a metric that the answer brought.
const POWER: u32 = 4;

#[test]
fn a_whole_answer_is_what_the_far_host_knows_with_its_own_times_and_who_observed_it() {
    let mut world = World::default();
    let out = world.one(&whole());
    assert_eq!(world.asked, ["http://10.0.0.1:8001/api/v1/system/snapshot?cluster=cluster1"]);
    assert!(out.coverage == Coverage::Whole && world.cursor.as_deref() == Some(b"e:7"));
    let (card, _, labels) = find(&out, "GPU-1");
    assert_eq!((text(labels, "model"), text(labels, "observed_by")), ("H100", "far/x/y, agent1/nvidia-dcgm/gpus"));
    assert_eq!(out.subjects[card as usize].observed_at, Some(AT as u64 * 1_000_000));
    assert_eq!(out.subjects[card as usize].parent, Some(find(&out, "worker1").0));
    let point = out.points.iter().find(|p| p.subject == card).unwrap();
    assert_eq!((out.metrics[point.metric as usize - 4].name.as_str(), point.value), ("power_watts", 71.5));
    assert!(out.gaps.iter().any(|g| g.subject == card && g.reason == GapReason::Stale && g.metric == POWER + 1));
    assert_eq!(out.metrics[1].quality, kcloud_collector_sdk::Quality::Derived);
    assert!(out.states.iter().any(|s| s.subject == card && s.metric == POWER + 2 && s.state == 1));
    assert!(!out.states.iter().any(|s| s.subject == card && s.metric == 0), "who is live need not be called so");
    let event = &out.events[0];
    assert_eq!((event.key.as_str(), event.at), ("was:xid@1764000000000", Some(AT as u64 * 1_000_000)));
}

#[test]
fn what_is_stale_there_is_told_as_stale_since_then_and_its_last_values_keep_their_time() {
    let out = World::default().one(&whole());
    let (card, identity, _) = find(&out, "nvidia0");
    assert_eq!(text(identity, "node"), "worker2", "a card without a parent is known by its node");
    assert!(out.states.iter().any(|s| (s.subject, s.metric, s.state) == (card, 0, 1)));
    assert_eq!(out.subjects[card as usize].observed_at, Some((AT as u64 - 90_000) * 1_000_000));
    let last = out.timed_points.iter().find(|p| p.subject == card).unwrap();
    assert_eq!((last.value, last.observed_at), (60.0, (AT as u64 - 90_001) * 1_000_000));
}

#[test]
fn how_the_far_hosts_sources_fare_is_said_and_one_that_is_gone_leaves() {
    let mut world = World::default();
    let out = world.one(&whole());
    let (at, _, labels) = find(&out, "agent1/nvidia-dcgm/gpus");
    assert_eq!((text(labels, "source_status"), text(labels, "source_error")), ("failing", "no answer"));
    assert_eq!(out.points.iter().filter(|p| p.subject == at).map(|p| p.value).collect::<Vec<_>>(), [2.0, 5.0, 1_764_000_000.0]);
    let gone = head("e", 8, Some(7)).replace("\"gone\":false", "\"gone\":true");
    let out = world.one(&format!("{gone}{}", end(0, 0, 0)));
    assert_eq!(out.tombstones, [find(&out, "agent1/nvidia-dcgm/gpus").0]);
}

#[test]
fn a_delta_knows_how_its_subjects_were_described_and_who_leaves_is_named() {
    let mut world = World::default();
    world.one(&whole());
    let changed = format!(r#"{{"subject":{{"id":"GPU-1","life":"live","seen":{AT},"readings":[[2,4,{},[80.0]]]}}}}"#, AT + 5_000);
    let delta = format!("{}{changed}\n{{\"gone\":\"GPU-2\"}}\n{}", head("e", 9, Some(7)), end(1, 0, 1));
    let out = world.one(&delta);
    assert!(world.asked[1].ends_with("?cluster=cluster1&since=7&epoch=e"), "{:?}", world.asked);
    assert!(out.coverage == Coverage::Delta && world.cursor.as_deref() == Some(b"e:9"));
    assert_eq!(text(find(&out, "GPU-1").2, "model"), "H100", "its labels are said again");
    assert!(find(&out, "worker1").2.is_empty(), "its parent is named bare");
    assert_eq!(out.tombstones, [find(&out, "nvidia0").0]);
    // Our host did not take that answer: it is asked for again from the one before, and says the same.
    world.cursor = Some(b"e:7".to_vec());
    let again = world.one(&delta);
    assert_eq!(again.tombstones.len(), 1, "who left is still known by name");
    let none = format!("{}{}", head("e", 10, Some(9)), end(0, 0, 0));
    world.one(&none);
    assert!(world.one(&format!("{}{{\"gone\":\"GPU-2\"}}\n{}", head("e", 11, Some(10)), end(0, 0, 1))).tombstones.is_empty());
}

#[test]
fn a_far_host_that_began_anew_is_read_whole() {
    let mut world = World::default();
    world.one(&whole());
    let out = world.one(&whole().replace("\"epoch\":\"e\"", "\"epoch\":\"f\""));
    assert!(out.coverage == Coverage::Whole && world.cursor.as_deref() == Some(b"f:7"));
    let wrong = world.read(&format!("{}{}", head("f", 9, Some(3)), end(0, 0, 0)));
    assert!(matches!(wrong, Err(CollectError::Protocol(why)) if why.contains("goes on from elsewhere")));
}

#[test]
fn a_large_answer_comes_in_pages_that_stand_alone() {
    let card = |i: usize| {
        format!(
            r#"{{"subject":{{"id":"GPU-{i}","kind":"accelerator","parent":"node/cluster1/worker1","identity":{{"uuid":"GPU-{i}"}},"labels":{{}},"life":"live","seen":{AT},"readings":[]}}}}"#
        ) + "\n"
    };
    let node = format!(
        r#"{{"subject":{{"id":"node/cluster1/worker1","kind":"node","identity":{{"node":"worker1"}},"labels":{{}},"life":"live","seen":{AT},"readings":[]}}}}"#
    );
    let cards: String = (0..4_500).map(card).collect();
    let pages = World::default().read(&format!("{}{node}\n{cards}{}", head("e", 1, None), end(4_501, 0, 0))).unwrap();
    assert_eq!(pages.len(), 3);
    for page in &pages {
        assert!(page.subjects.len() <= 2_001);
        assert!(page.subjects.iter().filter(|s| s.kind == "accelerator").all(|s| s.parent == Some(find(page, "worker1").0)));
    }
}

#[test]
fn a_broken_answer_is_an_error_that_says_where() {
    let good = whole();
    for (bad, expected) in [
        (good.replace("\"format\":1", "\"format\":2"), "format 2; this plugin reads 1"),
        (good.rsplit_once("{\"end\"").unwrap().0.to_owned(), "broke off after line 8"),
        (good.replace("\"subjects\":3", "\"subjects\":4"), "other numbers than came"),
        (good.replace("[71.5,\"stale\"]", "[71.5]"), "1 values for set 0"),
        (good.replace("\"stale\"]", "\"none\"]"), "line 6: unknown variant `none`"),
        (good.replace("\"kind\":\"accelerator\",\"parent\"", "\"parent\""), "GPU-1 was never described"),
        (String::new(), "an empty answer"),
        ("<html>\n".to_owned(), "line 1"),
    ] {
        let error = World::default().read(&bad).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn labels_beyond_the_limit_give_way_and_not_the_answer() {
    let many: String = (0..40).map(|i| format!("\"label:k{i}\":\"v\",")).collect();
    let out = World::default().one(&whole().replace("\"labels\":{\"model\"", &format!("\"labels\":{{{many}\"model\"")));
    let (_, identity, labels) = find(&out, "GPU-1");
    assert_eq!(identity.len() + labels.len(), 16);
    assert!(text(labels, "observed_by").starts_with("far/x/y, "));
}
