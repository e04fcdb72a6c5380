//! Contract 0.2: a target that did not answer in time is told from one that cannot be reached.

shape!("../wit/v0.2", "0.2.0", types::CollectError::Timeout(s) => c::CollectError::Timeout(s));
