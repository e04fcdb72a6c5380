//! Who holds a card, as its labels say it.

use kcloud_collector_sdk::Label;

/// Of the names of several.
const MAX_NAMES: usize = 1_000;

/// Namespace, pod and, where it is known, container.
pub type Holder<'a> = [&'a str; 3];

/// Labels of a card or partition that these hold.
pub fn holders(all: &[Holder<'_>]) -> Vec<Label> {
    let label = |key: &str, value: &str| Label { key: key.to_owned(), value: value.to_owned() };
    match all {
        [] => Vec::new(),
        [one] => ["namespace", "pod", "container"].iter().zip(one).filter(|(_, v)| !v.is_empty()).map(|(k, v)| label(k, v)).collect(),
        // Whose it is cannot be said of one: all are named.
        several => {
            let mut names = String::new();
            for name in several.iter().map(|h| h.join("/")) {
                let name = name.trim_end_matches('/');
                if names.len() + name.len() > MAX_NAMES {
                    break;
                }
                names += if names.is_empty() { "" } else { "," };
                names += name;
            }
            vec![label("holders", &names)]
        }
    }
}
