//! Contract 0.1: the first, with `log.is-enabled` since 0.1.1. A target that is late is `unreachable`.

shape!("../wit/v0.1", "0.1.1");
