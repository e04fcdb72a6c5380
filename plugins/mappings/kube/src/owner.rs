//! What stands above a pod.

/// The letters of the suffixes that Kubernetes makes.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Who owns something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub kind: String,
    pub name: String,
}

impl Owner {
    pub fn new(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), name: name.to_owned() }
    }
}

/// What stands at the top: the owner's own owner where it is `known`. A ReplicaSet of which nothing is known is one of the Deployment
/// whose name is left without the pod template's hash, which the pod carries as a label and which is otherwise told by its letters.
/// A Job of which nothing is known stands for itself.
pub fn top(owner: &Owner, template_hash: Option<&str>, known: Option<&Owner>) -> Owner {
    if let Some(known) = known {
        return known.clone();
    }
    if owner.kind != "ReplicaSet" {
        return owner.clone();
    }
    let named = match template_hash {
        Some(hash) => owner.name.strip_suffix(hash).and_then(|n| n.strip_suffix('-')),
        None => {
            owner.name.rsplit_once('-').filter(|(_, h)| (5..=10).contains(&h.len()) && h.bytes().all(|b| SAFE.contains(&b))).map(|(n, _)| n)
        }
    };
    named.filter(|n| !n.is_empty()).map_or_else(|| owner.clone(), |name| Owner::new("Deployment", name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_set_leads_to_its_deployment() {
        let set = Owner::new("ReplicaSet", "web-7d4b9c6f5");
        assert_eq!(top(&set, Some("7d4b9c6f5"), None), Owner::new("Deployment", "web"));
        assert_eq!(top(&set, Some("other"), None), set, "a set of its own, without a deployment");
        assert_eq!(top(&set, None, None), Owner::new("Deployment", "web"));
        assert_eq!(top(&Owner::new("ReplicaSet", "my-service"), None, None).kind, "ReplicaSet", "vowels are no hash");
        assert_eq!(top(&set, Some("7d4b9c6f5"), Some(&Owner::new("Rollout", "web"))), Owner::new("Rollout", "web"));
    }

    #[test]
    fn a_job_leads_to_its_cron_job_where_that_is_known() {
        let job = Owner::new("Job", "backup-29384756");
        assert_eq!(top(&job, None, None), job);
        assert_eq!(top(&job, None, Some(&Owner::new("CronJob", "backup"))).kind, "CronJob");
    }
}
