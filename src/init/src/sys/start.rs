//! Where the kernel enters, and what it put on the stack: arguments and environment.

use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static COUNT: AtomicUsize = AtomicUsize::new(0);
static ARGUMENTS: AtomicPtr<*const c_char> = AtomicPtr::new(core::ptr::null_mut());

/// First function of the program, called by `_start` with the stack pointer that the kernel left.
///
/// # Safety
/// Only to be called once, by `_start`.
pub unsafe extern "C" fn entry(stack: *mut usize) -> ! {
    // SAFETY: the kernel put argc there, then argv and a null, then the environment and a null (execve(2)). They live
    // as long as the process.
    let count = unsafe { *stack };
    COUNT.store(count, Ordering::Relaxed);
    // SAFETY: see above.
    ARGUMENTS.store(unsafe { stack.add(1) }.cast(), Ordering::Relaxed);
    crate::main()
}

/// The pointers from argument `from` on, null-terminated; at most to the terminating null.
pub(super) fn argument_pointers(from: usize) -> *const *const c_char {
    let from = from.min(COUNT.load(Ordering::Relaxed));
    // SAFETY: `from` is at most argc, where the null is.
    unsafe { ARGUMENTS.load(Ordering::Relaxed).add(from) }
}

/// The environment's pointers, null-terminated.
pub(super) fn environment_pointers() -> *const *const c_char {
    // SAFETY: the environment follows the null behind argv.
    unsafe { ARGUMENTS.load(Ordering::Relaxed).add(COUNT.load(Ordering::Relaxed) + 1) }
}

/// Argument number `index`; 0 is the program's name.
pub fn argument(index: usize) -> Option<&'static CStr> {
    if index >= COUNT.load(Ordering::Relaxed) {
        return None;
    }
    // SAFETY: below argc there are valid NUL-terminated strings, for as long as the process lives.
    Some(unsafe { CStr::from_ptr(*argument_pointers(index)) })
}

/// The environment: `NAME=value` texts.
pub fn environment() -> impl Iterator<Item = &'static CStr> {
    let mut at = environment_pointers();
    core::iter::from_fn(move || {
        // SAFETY: `at` is at or before the null that ends the environment.
        let text = unsafe { *at };
        if text.is_null() {
            return None;
        }
        // SAFETY: not yet at the null, so the next pointer exists.
        at = unsafe { at.add(1) };
        // SAFETY: before the null there are valid NUL-terminated strings, for as long as the process lives.
        Some(unsafe { CStr::from_ptr(text) })
    })
}

/// Value of an environment variable.
pub fn variable(name: &str) -> Option<&'static CStr> {
    environment().find_map(|text| {
        let value = text.to_bytes_with_nul().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        // SAFETY: the end of a NUL-terminated string that lives as long as the process.
        Some(unsafe { CStr::from_ptr(value.as_ptr().cast()) })
    })
}
