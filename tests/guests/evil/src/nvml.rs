//! What a driver should never be asked for: fields that are none, more than fit, again and again.

use kcloud_collector_sdk::CollectError;
use kcloud_collector_sdk::bindings_node::kcloud::collector::nvml::{NvmlError, Value, read};

use crate::{Config, mode, say};

pub(crate) fn collect(config: &Config) -> Option<Result<(), CollectError>> {
    if mode() != "nvml" {
        return None;
    }
    let many: Vec<String> = (0..257).map(|i| format!("card.{i}")).collect();
    let refused = |asked: &[String]| matches!(read(asked), Err(NvmlError::Denied(_)));
    say(&format!("many refused {}", refused(&many) && refused(&["x".repeat(65)])));
    // None of these is a field: what comes back is what says who a card is, and nothing else.
    let known = ["index", "uuid", "pci_address", "cards", "pid"];
    let beyond = match read(&config.list) {
        Ok(answer) => answer.parts.iter().flat_map(|p| &p.readings).filter(|r| !known.contains(&r.field.as_str())).count(),
        Err(error) => return Some(Err(kcloud_collector_sdk::nvml::failed(error))),
    };
    say(&format!("beyond {beyond}"));
    let uuid = |answer: Result<_, NvmlError>| match answer {
        Ok(kcloud_collector_sdk::nvml::Answer { parts, .. }) => {
            parts.iter().flat_map(|p| &p.readings).any(|r| r.field == "uuid" && matches!(r.value, Value::Text(_)))
        }
        Err(_) => false,
    };
    let reads = (0..100).filter(|_| uuid(read(&[]))).count();
    say(&format!("reads {reads}"));
    Some(Ok(()))
}
