//! Link arguments of the binary: no C start-up files, no libc, one static file at a fixed address.
//!
//! They stand here and not in a RUSTFLAGS so that a plain `cargo build` gives a file that works (`cargo xtask build` adds
//! what only makes it smaller), and so that
//! only the binary gets them: the library's tests are ordinary programs.

fn main() {
    let arguments = [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        // A fixed address needs no relocation at start: no page of data is dirtied by it.
        "-no-pie",
        "-Wl,--gc-sections",
        "-Wl,--build-id=none",
        "-Wl,-z,norelro",
        "-Wl,-z,noexecstack",
        "-Wl,--no-eh-frame-hdr",
        // What unwinding would call. Without link-time optimization (a build for development) core still names it.
        "-Wl,--defsym=rust_eh_personality=0",
    ];
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/link.ld");
    println!("cargo:rerun-if-changed=link.ld");
    for argument in arguments {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
