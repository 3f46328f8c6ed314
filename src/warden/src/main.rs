//! The program `hostel-warden`; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    hostel_warden::main()
}
