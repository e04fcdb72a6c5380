//! What a component asks for, in plain words.

/// What a right lets a plugin do.
pub fn in_words(right: &str) -> &'static str {
    match right {
        "http" => "send HTTP requests (GET and HEAD) to its targets and to origins that you list",
        "files" => "read files below globs that you list",
        "state" => "keep a little data of its own on this host",
        "ipmi" => "send reading commands to its targets' BMCs, in a session that the host holds",
        "nvml" => "read this machine's NVIDIA cards and who uses them, through the driver, in a process of its own",
        "log" => "write lines to its log",
        "clock" => "read the time",
        _ => "use an interface that this host does not know",
    }
}

/// Why a component waits for an operator.
pub(super) fn asks(plugin: &str, missing: &[String]) -> String {
    let each: Vec<String> = missing.iter().map(|r| format!("{r} (to {})", in_words(r))).collect();
    format!(
        "it asks for {}, which [grants] in plugins.d/{plugin}.toml does not give; `kcloud-monitor plugin approve {plugin}` does",
        each.join(" and ")
    )
}
