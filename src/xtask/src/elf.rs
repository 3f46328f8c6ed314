//! Is a program static? As much of the ELF format as that question needs: 64-bit, little-endian.

use std::ops::Range;

/// Program header type of the path of the dynamic linker.
const PT_INTERP: usize = 3;

/// Whether the kernel starts the program without a dynamic linker; an error for what is no 64-bit ELF file.
pub fn is_static(file: &[u8]) -> Result<bool, &'static str> {
    if file.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err("not a 64-bit little-endian ELF file");
    }
    let headers = number(file, 32..40)?;
    let size = number(file, 54..56)?;
    let count = number(file, 56..58)?;
    for index in 0..count {
        let start = headers + index * size;
        if number(file, start..start + 4)? == PT_INTERP {
            return Ok(false);
        }
    }
    Ok(true)
}

fn number(file: &[u8], at: Range<usize>) -> Result<usize, &'static str> {
    let bytes = file.get(at).ok_or("an ELF file that ends within its headers")?;
    Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::is_static;

    #[test]
    fn given_this_very_test_when_looked_at_then_it_is_dynamic() {
        let file = std::fs::read("/proc/self/exe").expect("own program");
        assert_eq!(is_static(&file), Ok(false));
    }

    #[test]
    fn given_a_cut_file_when_looked_at_then_it_is_an_error_and_no_panic() {
        let file = std::fs::read("/proc/self/exe").expect("own program");
        assert!(is_static(&file[..60]).is_err());
        assert!(is_static(b"#!/bin/sh").is_err());
    }
}
