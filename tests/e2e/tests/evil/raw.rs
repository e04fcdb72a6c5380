//! Components written by hand, down to every pointer that crosses the boundary: what no toolchain would write.

use std::fmt::Write;

use kcloud_e2e::root;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::stage::Evil;

/// Where things lie in its memory.
pub const INFO: u32 = 64;
const CONFIGURED: u32 = 256;
const FOUND: u32 = 288;
/// `result<batch, …>`: a tag, then the batch.
const COLLECTED: u32 = 320;
pub const BATCH: u32 = COLLECTED + 4;
const TEXTS: u32 = 1_024;
/// What the host asks room for.
const HEAP: u32 = 48 << 10;

/// A component that answers well, but for what is changed. Bodies are WAT; an empty one does nothing.
pub struct Raw {
    pub name: &'static str,
    pub version: &'static str,
    pub vendor: &'static str,
    pub description: String,
    pub schema: String,
    /// Pages of 64 KiB from the beginning.
    pub pages: u32,
    /// Further items of the module, and what it imports of the contract.
    pub items: &'static str,
    pub imports: &'static str,
    pub start: &'static str,
    pub describe: &'static str,
    pub collect: String,
    /// Instead of giving room: has `(param i32 i32 i32 i32) (result i32)`.
    pub realloc: &'static str,
    /// After an answer of that call was taken over.
    pub after_describe: &'static str,
    pub after_collect: &'static str,
    /// Words of memory that are written over at the end.
    pub words: Vec<(u32, u32)>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            name: "raw",
            version: "0.1.0",
            vendor: "nobody",
            description: "written by hand".to_owned(),
            schema: "{}".to_owned(),
            pages: 1,
            items: "",
            imports: "",
            start: "",
            describe: "",
            collect: String::new(),
            realloc: "",
            after_describe: "",
            after_collect: "",
            words: Vec::new(),
        }
    }
}

impl Raw {
    /// As a plugin with a target.
    pub fn named(self, name: &str) -> Evil {
        Evil::new(name, self.bytes())
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(root().join("wit/v0.1")).unwrap();
        let world = resolve.select_world(&[package], Some("plugin")).unwrap();
        let collector = resolve.id_of_name(package, "collector");
        let mut module = wat::parse_str(self.text(&collector)).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
    }

    fn text(&self, collector: &str) -> String {
        let mut texts = Vec::new();
        let mut info = Vec::new();
        for text in [self.name, self.version, self.vendor, &self.description] {
            place(&mut info, &mut texts, text);
        }
        // No metrics: what it says is about none.
        info.extend([0; 8]);
        place(&mut info, &mut texts, &self.schema);
        info.extend([0; 4]);
        let heap = HEAP.max(TEXTS + texts.len() as u32 + 64).next_multiple_of(64);
        let pages = self.pages.max(heap / 65_536 + 2);
        let version = collector.split_once('@').map_or("", |(_, version)| version);
        let mut out =
            format!("(module {}\n(memory (export \"memory\") {pages})\n", self.imports.replace("@VERSION", &format!("@{version}")));
        let mut put = |text: String| out.write_str(&text).unwrap();
        put(format!("(global $free (mut i32) (i32.const {heap}))\n{}\n", self.items));
        let realloc = match self.realloc {
            "" => {
                "(global.set $free (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                (global.get $free)
                (global.set $free (i32.add (global.get $free) (local.get 3)))"
            }
            own => own,
        };
        put(format!("(func $realloc (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {realloc})\n"));
        put(format!("(func (export \"{collector}#describe\") (result i32) {} (i32.const {INFO}))\n", self.describe));
        put(format!("(func (export \"{collector}#configure\") (param i32 i32) (result i32) (i32.const {CONFIGURED}))\n"));
        put(format!("(func (export \"{collector}#discover\") (result i32) (i32.const {FOUND}))\n"));
        let collect = &self.collect;
        put(format!(
            "(func (export \"{collector}#collect\") (param i32) (result i32) (local $i i32) (local $at i32)
                (global.set $free (i32.const {heap})) {collect} (i32.const {COLLECTED}))\n"
        ));
        put(format!("(func (export \"cabi_post_{collector}#describe\") (param i32) {})\n", self.after_describe));
        put(format!("(func (export \"cabi_post_{collector}#collect\") (param i32) {})\n", self.after_collect));
        put(format!("(data (i32.const {INFO}) \"{}\")\n(data (i32.const {TEXTS}) \"{}\")\n", escaped(&info), escaped(&texts)));
        for (at, word) in &self.words {
            put(format!("(data (i32.const {at}) \"{}\")\n", escaped(&word.to_le_bytes())));
        }
        if !self.start.is_empty() {
            put(format!("(func $start {})\n(start $start)\n", self.start));
        }
        put(")".to_owned());
        out
    }
}

fn place(info: &mut Vec<u8>, texts: &mut Vec<u8>, text: &str) {
    let at = TEXTS + texts.len() as u32;
    info.extend(at.to_le_bytes());
    info.extend((text.len() as u32).to_le_bytes());
    texts.extend(text.as_bytes());
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("\\{b:02x}")).collect()
}
