//! IPMI for guests: reading commands to the BMCs of a plugin's own targets, over RMCP+.
//!
//! In: a target's id and commands. Out: their answers. The policy decides what is sent and where; session, keys and password stay
//! here. It must never send a command that changes anything, nor try a refused password again and again.

mod crypto;
mod link;
pub mod policy;
mod pool;
mod session;
mod wire;

use std::time::{Duration, Instant};

pub use crypto::Suite;
pub use policy::{Bmc, Bridge, Place, Policy, Privilege, Request};
pub use pool::Bmcs;

use super::Guest;

/// Commands of one call.
const MAX_REQUESTS: usize = 4_096;
/// Kept of a call's wall time, so that a guest can still say what it has.
const MARGIN: Duration = Duration::from_millis(250);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpmiError {
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Auth(String),
    #[error("timed out")]
    Timeout,
    /// What a BMC says in place of an answer.
    #[error("completion code {0:#04x}")]
    Completion(u8),
}

impl From<policy::Denied> for IpmiError {
    fn from(denied: policy::Denied) -> Self {
        Self::Denied(denied.to_string())
    }
}

/// Who logs in, and as what.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    user: String,
    password: String,
    privilege: Privilege,
}

impl Guest {
    /// Asks the BMC of one of the plugin's targets, in order.
    pub async fn ask_bmc(&mut self, target: &str, requests: Vec<Request>) -> Result<Vec<Result<Vec<u8>, IpmiError>>, IpmiError> {
        let rights = self.shared.rights();
        let policy = rights.grants.ipmi.as_ref().ok_or_else(|| IpmiError::Denied("[grants] ipmi is not given".into()))?;
        let bmc = policy.target(target)?;
        requests.iter().try_for_each(policy::check)?;
        self.used.ipmi_requests += requests.len();
        if self.used.ipmi_requests > MAX_REQUESTS {
            return Err(IpmiError::Denied(format!("a call asks at most {MAX_REQUESTS} things of BMCs")));
        }
        let name = &bmc.credential;
        let credential =
            rights.credentials.get(name).ok_or_else(|| IpmiError::Denied(format!("no credential of this plugin is named {name:?}")))?;
        if !credential.origins.iter().any(|origin| policy::binds(origin, &bmc.place)) {
            return Err(IpmiError::Denied(format!("credential {name:?} is not bound to ipmi://{}", bmc.place)));
        }
        let (user, password) = credential.secret.user_and_password().map_err(IpmiError::Denied)?;
        let login = Login { user, password, privilege: bmc.privilege };
        let until = self.deadline.checked_sub(MARGIN.min(self.remaining() / 8)).unwrap_or_else(Instant::now);
        self.shared.commons.bmcs.ask(bmc, login, requests, until).await
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
