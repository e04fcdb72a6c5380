//! What every version of the contract has in common: bindings, conversions, one-line delegations. The versions differ in
//! types that Rust keeps apart, so this is a macro; no body stands twice.

/// A version of the contract: its folder, its number, and the errors that only it has, theirs => ours.
macro_rules! shape {
    ($path:literal, $version:literal $(, $theirs:pat => $ours:expr)* $(,)?) => {
        use std::time::Duration;

        use wasmtime::Store;
        use wasmtime::component::{HasSelf, InstancePre, Linker, Resource};

        use crate::catalogue::Kind as MetricKind;
        use crate::inventory::{Quality, Reason, Severity};
        use crate::plugins::capabilities::files as host_files;
        use crate::plugins::capabilities::http::{self as host_http, BodyStream};
        use crate::plugins::capabilities::ipmi as host_ipmi;
        use crate::plugins::capabilities::log::Level;
        use crate::plugins::capabilities::nvml as host_nvml;
        use crate::plugins::capabilities::state::StateError;
        use crate::plugins::capabilities::Guest;
        use crate::plugins::contract as c;

        mod bindings {
            wasmtime::component::bindgen!({
                path: $path,
                world: "plugin",
                imports: { default: async | trappable },
                exports: { default: async },
                with: { "kcloud:collector/http.body-stream": crate::plugins::capabilities::http::BodyStream },
            });
        }

        /// What is there beside every world.
        mod node {
            wasmtime::component::bindgen!({
                path: $path,
                world: "node",
                imports: { default: async | trappable },
            });
        }

        /// The second world's own export; everything that it shares with the first is the first's.
        mod with_history {
            wasmtime::component::bindgen!({
                path: $path,
                world: "plugin-with-history",
                imports: { default: async | trappable },
                exports: { default: async },
                with: {
                    "kcloud:collector/types": super::bindings::kcloud::collector::types,
                    "kcloud:collector/log": super::bindings::kcloud::collector::log,
                    "kcloud:collector/clock": super::bindings::kcloud::collector::clock,
                    "kcloud:collector/state": super::bindings::kcloud::collector::state,
                    "kcloud:collector/http": super::bindings::kcloud::collector::http,
                    "kcloud:collector/files": super::bindings::kcloud::collector::files,
                    "kcloud:collector/ipmi": super::bindings::kcloud::collector::ipmi,
                },
            });
        }

        use bindings::exports::kcloud::collector::collector as guest;
        use bindings::kcloud::collector::{clock, files, http, ipmi, log, state, types};
        use node::kcloud::collector::nvml;
        use with_history::exports::kcloud::collector::history;

        /// The contract's version in full.
        pub const VERSION: &str = $version;
        const HISTORY: &str = concat!("kcloud:collector/history@", $version);

        /// Links `log`, `clock` and the rights that are held.
        pub fn link(linker: &mut Linker<Guest>, holds: impl Fn(&str) -> bool) -> wasmtime::Result<()> {
            types::add_to_linker::<_, HasSelf<Guest>>(linker, |g| g)?;
            log::add_to_linker::<_, HasSelf<Guest>>(linker, |g| g)?;
            clock::add_to_linker::<_, HasSelf<Guest>>(linker, |g| g)?;
            if holds("http") {
                http::add_to_linker::<_, HasSelf<Guest>>(linker, |g| g)?;
            }
            if holds("files") {
                files::add_to_linker::<_, HasSelf<Guest>>(linker, |g| g)?;
            }
            if holds("state") {
                state::add_to_linker::<_, HasSelf<Guest>>(linker, |g| g)?;
            }
            if holds("ipmi") {
                ipmi::add_to_linker::<_, HasSelf<Guest>>(linker, |g| g)?;
            }
            if holds("nvml") {
                nvml::add_to_linker::<_, HasSelf<Guest>>(linker, |g| g)?;
            }
            Ok(())
        }

        /// A linked component of this version, ready to be instantiated.
        pub struct Ready {
            pre: InstancePre<Guest>,
            plugin: bindings::PluginIndices,
            /// Of a component of the second world.
            history: Option<history::GuestIndices>,
        }

        /// An instance of this version.
        pub struct Instance {
            plugin: bindings::Plugin,
            history: Option<history::Guest>,
        }

        impl Ready {
            pub fn new(pre: InstancePre<Guest>) -> wasmtime::Result<Self> {
                let plugin = bindings::PluginIndices::new(&pre)?;
                let history = match pre.component().get_export_index(None, HISTORY) {
                    Some(_) => Some(history::GuestIndices::new(&pre)?),
                    None => None,
                };
                Ok(Self { pre, plugin, history })
            }

            /// Whether it answers for the past.
            pub fn has_history(&self) -> bool {
                self.history.is_some()
            }

            pub async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Instance> {
                let instance = self.pre.instantiate_async(&mut *store).await?;
                let history = match &self.history {
                    Some(indices) => Some(indices.load(&mut *store, &instance)?),
                    None => None,
                };
                Ok(Instance { plugin: self.plugin.load(&mut *store, &instance)?, history })
            }
        }

        impl Instance {
            /// One page of the past; `None` of a component that does not answer for it.
            pub async fn range(
                &self,
                store: &mut Store<Guest>,
                target: &c::Target,
                query: &c::RangeQuery,
                deadline_ms: u32,
                page: Option<&[u8]>,
            ) -> wasmtime::Result<Option<Result<c::HistoryPage, c::CollectError>>> {
                let Some(history) = &self.history else { return Ok(None) };
                let target = target_in(target);
                let query = history::RangeQuery {
                    metric: query.metric.clone(),
                    kind: query.kind.clone(),
                    matching: labels(&query.matching),
                    start: query.start_ns,
                    end: query.end_ns,
                    step: query.step_ns,
                };
                let answer = history.call_range(store, &target, &query, deadline_ms, page).await?;
                Ok(Some(answer.map(history_page).map_err(error)))
            }

            pub async fn describe(&self, store: &mut Store<Guest>) -> wasmtime::Result<c::Info> {
                let i = self.plugin.kcloud_collector_collector().call_describe(store).await?;
                Ok(c::Info {
                    name: i.name,
                    version: i.version,
                    vendor: i.vendor,
                    description: i.description,
                    metrics: i.metrics.into_iter().map(metric).collect(),
                    config_schema: i.config_schema,
                    bound_to_target: matches!(i.affinity, guest::Affinity::Target),
                })
            }

            pub async fn configure(&self, store: &mut Store<Guest>, config: &str) -> wasmtime::Result<Result<(), c::CollectError>> {
                Ok(self.plugin.kcloud_collector_collector().call_configure(store, config).await?.map_err(error))
            }

            pub async fn discover(&self, store: &mut Store<Guest>) -> wasmtime::Result<Result<Vec<c::Target>, c::CollectError>> {
                let found = self.plugin.kcloud_collector_collector().call_discover(store).await?;
                Ok(found.map_err(error).map(|t| t.into_iter().map(target_out).collect()))
            }

            pub async fn collect(
                &self,
                store: &mut Store<Guest>,
                target: &c::Target,
                deadline_ms: u32,
                page: Option<&[u8]>,
                cursor: Option<&[u8]>,
            ) -> wasmtime::Result<Result<c::Batch, c::CollectError>> {
                let target = target_in(target);
                let collected = self.plugin.kcloud_collector_collector().call_collect(store, &target, deadline_ms, page, cursor).await?;
                Ok(collected.map(batch).map_err(error))
            }
        }

        fn pairs(labels: Vec<types::Label>) -> c::Pairs {
            labels.into_iter().map(|l| (l.key, l.value)).collect()
        }

        fn labels(pairs: &[(String, String)]) -> Vec<types::Label> {
            pairs.iter().map(|(key, value)| types::Label { key: key.clone(), value: value.clone() }).collect()
        }

        fn metric(m: types::MetricDef) -> c::MetricDef {
            let kind = match m.kind {
                types::MetricKind::Gauge => MetricKind::Gauge,
                types::MetricKind::Counter => MetricKind::Counter,
                types::MetricKind::State => MetricKind::State,
                types::MetricKind::Histogram => MetricKind::Histogram,
                types::MetricKind::Info => MetricKind::Info,
            };
            c::MetricDef { name: m.name, unit: m.unit, kind, quality: quality(m.quality), states: m.states }
        }

        fn target_in(t: &c::Target) -> types::Target {
            types::Target {
                id: t.id.clone(),
                address: t.address.clone(),
                cluster: t.cluster.clone(),
                labels: labels(&t.labels),
                credential: t.credential.clone(),
                config: t.config.clone(),
            }
        }

        fn target_out(t: types::Target) -> c::Target {
            let labels = pairs(t.labels);
            c::Target { id: t.id, address: t.address, cluster: t.cluster, labels, credential: t.credential, config: t.config }
        }

        fn error(e: types::CollectError) -> c::CollectError {
            match e {
                types::CollectError::Config(s) => c::CollectError::Config(s),
                types::CollectError::Auth(s) => c::CollectError::Auth(s),
                types::CollectError::Denied(s) => c::CollectError::Denied(s),
                types::CollectError::Unreachable(s) => c::CollectError::Unreachable(s),
                types::CollectError::Throttled(s) => c::CollectError::Throttled(s),
                types::CollectError::Protocol(s) => c::CollectError::Protocol(s),
                types::CollectError::Unsupported(s) => c::CollectError::Unsupported(s),
                types::CollectError::Internal(s) => c::CollectError::Internal(s),
                $($theirs => $ours,)*
            }
        }

        fn batch(b: types::Batch) -> c::Batch {
            c::Batch {
                coverage: match b.coverage {
                    types::Coverage::Whole => c::Coverage::Whole,
                    types::Coverage::Delta => c::Coverage::Delta,
                    types::Coverage::Partial => c::Coverage::Partial,
                },
                metrics: b.metrics.into_iter().map(metric).collect(),
                subjects: b.subjects.into_iter().map(subject).collect(),
                points: b.points.into_iter().map(|p| c::Point { metric: p.metric, subject: p.subject, value: p.value }).collect(),
                timed_points: b.timed_points.into_iter().map(timed).collect(),
                states: b.states.into_iter().map(|s| c::StatePoint { metric: s.metric, subject: s.subject, state: s.state }).collect(),
                histograms: b.histograms.len(),
                gaps: b.gaps.into_iter().map(gap).collect(),
                events: b.events.into_iter().map(event).collect(),
                problems: b.problems.into_iter().map(|p| c::Problem { subject: p.subject, error: error(p.error), line: p.line }).collect(),
                tombstones: b.tombstones,
                next_page: b.next_page,
                cursor: b.cursor,
            }
        }

        fn quality(q: types::Quality) -> Quality {
            match q {
                types::Quality::Measured => Quality::Measured,
                types::Quality::Derived => Quality::Derived,
                types::Quality::Modelled => Quality::Modelled,
            }
        }

        fn history_page(p: history::Page) -> c::HistoryPage {
            let series = |s: history::Series| c::HistorySeries {
                subject: s.subject,
                quality: quality(s.quality),
                observations: s.observations.into_iter().map(|o| (o.at, o.value)).collect(),
            };
            c::HistoryPage {
                subjects: p.subjects.into_iter().map(subject).collect(),
                series: p.series.into_iter().map(series).collect(),
                next_page: p.next_page,
            }
        }

        fn subject(s: types::Subject) -> c::Subject {
            c::Subject { kind: s.kind, identity: pairs(s.identity), labels: pairs(s.labels), parent: s.parent, observed_at_ns: s.observed_at }
        }

        fn timed(p: types::TimedPoint) -> c::TimedPoint {
            c::TimedPoint { point: c::Point { metric: p.metric, subject: p.subject, value: p.value }, observed_at_ns: p.observed_at }
        }

        fn gap(g: types::Gap) -> c::Gap {
            let reason = match g.reason {
                types::GapReason::Unsupported => Reason::Unsupported,
                types::GapReason::Stale => Reason::Stale,
                types::GapReason::Denied => Reason::Denied,
                types::GapReason::Error => Reason::Error,
                types::GapReason::Absent => Reason::Absent,
            };
            c::Gap { metric: g.metric, subject: g.subject, reason }
        }

        fn event(e: types::Event) -> c::Event {
            let severity = match e.severity {
                types::Severity::Info => Severity::Info,
                types::Severity::Warning => Severity::Warning,
                types::Severity::Critical => Severity::Critical,
            };
            c::Event { subject: e.subject, at_ns: e.at, severity, code: e.code, message: e.message, key: e.key }
        }

        impl types::Host for Guest {}

        fn level(level: log::Level) -> Level {
            match level {
                log::Level::Trace => Level::Trace,
                log::Level::Debug => Level::Debug,
                log::Level::Info => Level::Info,
                log::Level::Warn => Level::Warn,
                log::Level::Error => Level::Error,
            }
        }

        impl log::Host for Guest {
            async fn emit(&mut self, at: log::Level, message: String, fields: Vec<types::Label>) -> wasmtime::Result<()> {
                self.emit_line(level(at), &message, &pairs(fields));
                Ok(())
            }

            async fn is_enabled(&mut self, at: log::Level) -> wasmtime::Result<bool> {
                Ok(level(at).is_kept())
            }
        }

        impl clock::Host for Guest {
            async fn unix_ns(&mut self) -> wasmtime::Result<u64> {
                Ok(Guest::unix_ns(self))
            }

            async fn monotonic_ns(&mut self) -> wasmtime::Result<u64> {
                Ok(Guest::monotonic_ns(self))
            }
        }

        fn state_error(e: StateError) -> state::StateError {
            match e {
                StateError::Quota(q) => state::StateError::Quota(q as u64),
                StateError::BadKey(_) => state::StateError::BadKey(e.to_string()),
                StateError::Keys | StateError::Rate => state::StateError::Io(e.to_string()),
                StateError::Io(e) => state::StateError::Io(e.kind().to_string()),
            }
        }

        impl state::Host for Guest {
            async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, state::StateError>> {
                Ok(self.get_state(key).await.map_err(state_error))
            }

            async fn put(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Result<(), state::StateError>> {
                Ok(self.put_state(key, value).await.map_err(state_error))
            }

            async fn delete(&mut self, key: String) -> wasmtime::Result<Result<(), state::StateError>> {
                Ok(self.delete_state(key).await.map_err(state_error))
            }
        }

        fn file_error(e: host_files::FileError) -> files::FileError {
            match e {
                host_files::FileError::Denied(s) => files::FileError::Denied(s),
                host_files::FileError::NotFound => files::FileError::NotFound,
                host_files::FileError::TooLarge(n) => files::FileError::TooLarge(n),
                host_files::FileError::Io(s) => files::FileError::Io(s),
            }
        }

        impl files::Host for Guest {
            async fn list_dir(&mut self, path: String) -> wasmtime::Result<Result<Vec<String>, files::FileError>> {
                Ok(Guest::list_dir(self, path).await.map_err(file_error))
            }

            async fn read(&mut self, path: String) -> wasmtime::Result<Result<Vec<u8>, files::FileError>> {
                Ok(self.read_file(path).await.map_err(file_error))
            }

            async fn read_all(&mut self, paths: Vec<String>) -> wasmtime::Result<Vec<Result<Vec<u8>, files::FileError>>> {
                Ok(self.read_files(paths).await.into_iter().map(|one| one.map_err(file_error)).collect())
            }

            async fn modified(&mut self, path: String) -> wasmtime::Result<Result<u64, files::FileError>> {
                Ok(self.file_modified(path).await.map_err(file_error))
            }
        }

        fn request(r: http::Request) -> host_http::Request {
            host_http::Request {
                method: r.method,
                url: r.url,
                headers: pairs(r.headers),
                body: r.body,
                credential: r.credential,
                timeout: r.timeout_ms.map(|ms| Duration::from_millis(ms.into())),
            }
        }

        fn response(r: host_http::Response) -> http::Response {
            http::Response { status: r.status, headers: labels(&r.headers), body: r.body }
        }

        fn http_error(e: host_http::HttpError) -> http::HttpError {
            match e {
                host_http::HttpError::Denied(s) => http::HttpError::Denied(s),
                host_http::HttpError::Dns(s) => http::HttpError::Dns(s),
                host_http::HttpError::Connect(s) => http::HttpError::Connect(s),
                host_http::HttpError::Tls(s) => http::HttpError::Tls(s),
                host_http::HttpError::Timeout => http::HttpError::Timeout,
                host_http::HttpError::TooLarge(n) => http::HttpError::TooLarge(n),
                host_http::HttpError::Protocol(s) => http::HttpError::Protocol(s),
            }
        }

        impl http::Host for Guest {
            async fn send(&mut self, r: http::Request) -> wasmtime::Result<Result<http::Response, http::HttpError>> {
                self.waits(true);
                let answer = self.http().send(request(r)).await;
                self.waits(false);
                Ok(answer.map(response).map_err(http_error))
            }

            async fn send_all(&mut self, r: Vec<http::Request>, parallel: u32) -> wasmtime::Result<Vec<Result<http::Response, http::HttpError>>> {
                let requests = r.into_iter().map(request).collect();
                self.waits(true);
                let answers = self.http().send_all(requests, parallel).await;
                self.waits(false);
                Ok(answers.into_iter().map(|a| a.map(response).map_err(http_error)).collect())
            }

            async fn open(&mut self, r: http::Request) -> wasmtime::Result<Result<Resource<BodyStream>, http::HttpError>> {
                self.waits(true);
                let opened = self.open_stream(request(r)).await;
                self.waits(false);
                Ok(opened?.map_err(http_error))
            }
        }

        impl http::HostBodyStream for Guest {
            async fn head(&mut self, stream: Resource<BodyStream>) -> wasmtime::Result<http::Response> {
                let (status, headers) = &self.table.get(&stream)?.head;
                Ok(http::Response { status: *status, headers: labels(headers), body: Vec::new() })
            }

            async fn read(
                &mut self,
                stream: Resource<BodyStream>,
                max_bytes: u32,
                wait_ms: u32,
            ) -> wasmtime::Result<Result<Option<Vec<u8>>, http::HttpError>> {
                let wait = Duration::from_millis(wait_ms.into());
                self.waits(true);
                let read = self.read_stream(&stream, max_bytes as usize, wait).await;
                self.waits(false);
                Ok(read?.map_err(http_error))
            }

            async fn drop(&mut self, stream: Resource<BodyStream>) -> wasmtime::Result<()> {
                self.drop_stream(stream)
            }
        }

        fn ipmi_request(r: ipmi::Request) -> host_ipmi::Request {
            let bridge = r.bridge.map(|b| host_ipmi::Bridge { channel: b.channel, address: b.address });
            host_ipmi::Request { bridge, netfn: r.netfn, lun: r.lun, cmd: r.cmd, data: r.data }
        }

        fn ipmi_error(e: host_ipmi::IpmiError) -> ipmi::IpmiError {
            match e {
                host_ipmi::IpmiError::Denied(s) => ipmi::IpmiError::Denied(s),
                host_ipmi::IpmiError::Unreachable(s) => ipmi::IpmiError::Unreachable(s),
                host_ipmi::IpmiError::Auth(s) => ipmi::IpmiError::Auth(s),
                host_ipmi::IpmiError::Timeout => ipmi::IpmiError::Timeout,
                host_ipmi::IpmiError::Completion(code) => ipmi::IpmiError::Completion(code),
            }
        }

        impl ipmi::Host for Guest {
            async fn raw_all(
                &mut self,
                target: String,
                requests: Vec<ipmi::Request>,
            ) -> wasmtime::Result<Result<Vec<Result<Vec<u8>, ipmi::IpmiError>>, ipmi::IpmiError>> {
                let requests = requests.into_iter().map(ipmi_request).collect();
                self.waits(true);
                let answers = self.ask_bmc(&target, requests).await;
                self.waits(false);
                Ok(answers.map(|all| all.into_iter().map(|a| a.map_err(ipmi_error)).collect()).map_err(ipmi_error))
            }
        }

        fn nvml_value(v: host_nvml::Value) -> nvml::Value {
            match v {
                host_nvml::Value::Number(n) => nvml::Value::Number(n),
                host_nvml::Value::Text(s) => nvml::Value::Text(s),
                host_nvml::Value::Unsupported => nvml::Value::Unsupported,
                host_nvml::Value::Denied => nvml::Value::Denied,
                host_nvml::Value::Failed(s) => nvml::Value::Failed(s),
            }
        }

        fn nvml_answer(a: host_nvml::Answer) -> nvml::Answer {
            let part = |p: host_nvml::Part| nvml::Part {
                kind: p.kind,
                parent: p.parent,
                readings: p.readings.into_iter().map(|(field, v)| nvml::Reading { field, value: nvml_value(v) }).collect(),
            };
            let xid = |x: host_nvml::Xid| nvml::Xid { uuid: x.uuid, code: x.code, heard_at: x.heard_at_ns };
            nvml::Answer { parts: a.parts.into_iter().map(part).collect(), xids: a.xids.into_iter().map(xid).collect() }
        }

        fn nvml_error(e: host_nvml::NvmlError) -> nvml::NvmlError {
            match e {
                host_nvml::NvmlError::Denied(s) => nvml::NvmlError::Denied(s),
                host_nvml::NvmlError::Unavailable(s) => nvml::NvmlError::Unavailable(s),
                host_nvml::NvmlError::Timeout(s) => nvml::NvmlError::Timeout(s),
            }
        }

        impl nvml::Host for Guest {
            async fn read(&mut self, fields: Vec<String>) -> wasmtime::Result<Result<nvml::Answer, nvml::NvmlError>> {
                self.waits(true);
                let answer = self.read_nvml(fields).await;
                self.waits(false);
                Ok(answer.map(nvml_answer).map_err(nvml_error))
            }
        }
    };
}
