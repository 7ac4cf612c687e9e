//! What a shared library for Linux says of itself: which others it is linked to, and which names it wants from them.

use gnp_base::files;
use object::Endianness;
use object::elf::DT_NEEDED;
use object::read::ReadCache;
use object::read::elf::ElfFile64;
use std::path::Path;

/// The names of the libraries that `library` is linked to, in its own order. Little of the file is read.
///
/// # Errors
/// Where it cannot be read, or is no shared library for 64-bit Linux. The message does not name it.
pub(super) fn needed(library: &Path) -> Result<Vec<String>, String> {
    of(library, |elf| {
        let dynamic = elf.elf_section_table().dynamic_table(elf.endian(), elf.data())?;
        let needed = dynamic.iter().filter(|entry| entry.tag == DT_NEEDED);
        needed.map(|entry| Ok(String::from_utf8_lossy(dynamic.string(entry)?).into_owned())).collect()
    })
}

/// A name that a library wants from another.
#[cfg(feature = "install")]
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// Whether it is a variable, and not a function.
    pub(super) is_data: bool,
}

/// The names that `library`, for x86-64, wants from others, sorted.
///
/// The entry of such a name does not say what it is, but the use of it does: a variable's address is looked up in the
/// global offset table. A function has an entry in the linkage table, or stands in a table of the library's own.
///
/// # Errors
/// As [`needed`].
#[cfg(feature = "install")]
pub(super) fn wanted(library: &Path) -> Result<Vec<Wanted>, String> {
    use object::elf::R_X86_64_GLOB_DAT;
    use object::{Object as _, ObjectSymbol as _, RelocationFlags, RelocationTarget};
    use std::collections::HashSet;
    of(library, |elf| {
        let looked_up = elf.dynamic_relocations().into_iter().flatten().filter_map(|(_, relocation)| {
            let is_data = relocation.flags() == RelocationFlags::Elf { r_type: R_X86_64_GLOB_DAT };
            if let RelocationTarget::Symbol(symbol) = relocation.target() { is_data.then_some(symbol) } else { None }
        });
        let looked_up: HashSet<_> = looked_up.collect();
        let wanted = elf.dynamic_symbols().filter(|symbol| symbol.is_undefined());
        let mut wanted = wanted
            .map(|symbol| Ok(Wanted { name: symbol.name()?.to_owned(), is_data: looked_up.contains(&symbol.index()) }))
            .collect::<object::Result<Vec<_>>>()?;
        wanted.sort();
        Ok(wanted)
    })
}

type Elf<'a> = ElfFile64<'a, Endianness, &'a ReadCache<std::fs::File>>;

fn of<T>(library: &Path, read: impl FnOnce(&Elf<'_>) -> object::Result<T>) -> Result<T, String> {
    let cache = ReadCache::new(files::open(library).map_err(|e| e.to_string())?);
    ElfFile64::parse(&cache).and_then(|elf| read(&elf)).map_err(|e| format!("not a shared library: {e}"))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn libraries_say_what_they_are_linked_to() {
        let library = super::super::system::library("libstdc++.so.6").unwrap();
        let needed = needed(&library).unwrap();
        assert!(needed.contains(&"libc.so.6".to_owned()), "{needed:?}");
    }

    #[test]
    fn what_is_no_library_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in [&b""[..], b"\x7fELF", b"\x7fELF\x02\x01\x01", &[0x7f; 4096]] {
            std::fs::write(file.path(), content).unwrap();
            assert!(needed(file.path()).unwrap_err().starts_with("not a shared library"));
        }
    }

    /// What a compiler makes of a call, of a function's address in a table, and of a variable.
    #[test]
    #[cfg(all(target_arch = "x86_64", feature = "install"))]
    fn variables_are_told_from_functions() {
        let folder = tempfile::tempdir().unwrap();
        let source = "extern int PyCalled(void); extern int PyInTable(void); extern int PyVariable;\n\
                      int (*table[])(void) = {PyInTable};\nint use(void) { return PyCalled() + PyVariable; }\n";
        std::fs::write(folder.path().join("a.c"), source).unwrap();
        let arguments = ["-shared", "-fPIC", "-O1", "-o", "a.so", "a.c"];
        let output = super::super::program::run("cc", arguments, folder.path()).unwrap();
        assert!(output.status.success());
        let found = wanted(&folder.path().join("a.so")).unwrap();
        let found: Vec<_> = found.iter().filter(|wanted| wanted.name.starts_with("Py")).collect();
        let expected = [("PyCalled", false), ("PyInTable", false), ("PyVariable", true)];
        assert_eq!(found.iter().map(|w| (w.name.as_str(), w.is_data)).collect::<Vec<_>>(), expected);
    }
}
