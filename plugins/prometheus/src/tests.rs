use kcloud_collector_sdk::promql::Series;

use super::*;

fn target() -> Target {
    Target {
        id: "cluster1".into(),
        address: "http://prometheus:9090".into(),
        cluster: "cluster1".into(),
        labels: vec![],
        credential: None,
        config: "{}".into(),
    }
}

#[test]
fn rows_of_a_known_source_are_read_at_the_time_of_their_scrape() {
    let rows: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"DCGM_FI_DEV_POWER_USAGE","UUID":"GPU-1","gpu":"0","Hostname":"worker1","job":"dcgm","instance":"worker1:9400"},
            "value":[1764000010.5,"300.5"]}]"#,
    )
    .unwrap();
    let scraped = [(("dcgm".to_owned(), "worker1:9400".to_owned()), 1_764_000_003_000i64)].into_iter().collect();
    let mut batch = Batch::new(Prometheus::describe().metrics);
    known::all()[0].read(&target(), &rows, &scraped, &mut batch);
    let batch = batch.finish();
    assert_eq!(batch.timed_points.len(), 1);
    assert_eq!((batch.timed_points[0].value, batch.timed_points[0].observed_at), (300.5, 1_764_000_003_000_000_000));
    assert_eq!(batch.subjects.last().unwrap().kind, "accelerator");
}

#[test]
fn a_metric_of_the_catalogue_is_found_under_both_generations_of_names() {
    let names = known::all()[0].holding("power_watts");
    assert_eq!(names, [("DCGM_FI_DEV_POWER_USAGE", 1.0), ("DCGM_FI_DEV_BOARD_POWER_WATTS", 1.0)]);
    assert!(known::all()[0].holding("no_such_metric").is_empty());
}

#[test]
fn every_source_finds_its_metrics_where_describe_lists_them() {
    let rows: Vec<Series> = serde_json::from_str(
        r#"[{"metric":{"__name__":"node_load1","instance":"worker1:9100","job":"node"},"value":[1764000010.5,"0.5"]}]"#,
    )
    .unwrap();
    let described = Prometheus::describe().metrics;
    let mut batch = Batch::new(described.clone());
    known::all().iter_mut().for_each(|k| k.read(&target(), &rows, &Default::default(), &mut batch));
    let batch = batch.finish();
    let names: Vec<&str> = batch.points.iter().map(|p| described[p.metric as usize].name.as_str()).collect();
    assert_eq!(names, ["load_1min_count"]);
}

#[test]
fn a_known_name_is_like_what_its_source_asks_for() {
    for known in known::all() {
        // Prometheus matches whole names.
        let (begin, rest) = known.like().split_once(['.', '[', '(']).unwrap();
        let among: Vec<&str> = rest.split_once(')').map_or(vec![""], |(among, _)| among.split('|').collect());
        let is_like = |name: &&str| among.iter().any(|a| name.starts_with(&format!("{begin}{a}")));
        let of: Vec<&str> = known.asks().iter().flat_map(Ask::names).filter(|n| !n.contains(':')).collect();
        assert!(of.len() > 5 && of.iter().all(is_like), "{}", known.name());
    }
}

#[test]
fn a_source_that_has_a_plugin_of_its_own_is_left_out() {
    let config = |name: &str| Config { discover_seconds: 300, leave_out: vec![name.to_owned()] };
    let left = Prometheus::new(config("node_exporter")).unwrap().known;
    assert!(left.len() + 1 == known::all().len() && left.iter().all(|k| k.name() != "node_exporter"));
    let error = Prometheus::new(config("node")).err().unwrap().to_string();
    assert!(error.contains("is not known") && error.contains("node_exporter"), "{error}");
}

#[test]
fn sources_of_one_cluster_speak_of_the_same_pod() {
    let row = |name: &str, labels: &str, value: &str| {
        format!(r#"{{"metric":{{"__name__":"{name}","namespace":"ml","pod":"train-1",{labels}}},"value":[1764000010.5,"{value}"]}}"#)
    };
    let rows = [
        row("kube_pod_info", r#""node":"worker1","uid":"p-1""#, "1"),
        row("kube_pod_container_info", r#""container":"main","image":"img:1""#, "1"),
        row("kube_pod_container_resource_requests", r#""container":"main","resource":"nvidia_com_gpu""#, "2"),
        row("container_memory_working_set_bytes", r#""container":"main","id":"/k/1","image":"img:1""#, "1500"),
        row("container_memory_working_set_bytes", r#""container":"","id":"/k""#, "9999"),
    ];
    let rows: Vec<Series> = serde_json::from_str(&format!("[{}]", rows.join(","))).unwrap();
    let mut batch = Batch::new(Prometheus::describe().metrics);
    known::all().iter_mut().for_each(|k| k.read(&target(), &rows, &Default::default(), &mut batch));
    let batch = batch.finish();
    let kinds: Vec<&str> = batch.subjects.iter().map(|s| s.kind.as_str()).collect();
    assert_eq!(kinds, ["node", "pod", "container"]);
    let metrics = Prometheus::describe().metrics;
    let of = |name: &str, subject: u32| {
        let found = batch.points.iter().find(|p| p.subject == subject && metrics.get(p.metric as usize).is_some_and(|m| m.name == name));
        found.map(|p| p.value)
    };
    assert_eq!((of("gpu_request_count", 1), of("memory_working_set_bytes", 1)), (Some(2.0), Some(1500.0)));
    assert_eq!(batch.subjects[2].labels.iter().filter(|l| l.key == "image").count(), 1);
}
