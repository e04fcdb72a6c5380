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
