/* Changes a file in one of the ways there are: writer HOW FILE. Exits with 0, or 2 where the file system can't. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static int done(int result) {
    if (result >= 0) return 0;
    if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL || errno == EXDEV) return 2;
    perror("writer");
    return 1;
}

static int map(int fd, int flags) {
    char *bytes = mmap(0, 4096, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (bytes == MAP_FAILED) return -1;
    memcpy(bytes, "mapped", 6);
    return msync(bytes, 4096, MS_SYNC);
}

int main(int argc, char **argv) {
    if (argc != 3) return 1;
    const char *how = argv[1], *file = argv[2];
    char other[4096];
    snprintf(other, sizeof other, "%s.other", file);
#define HOW(name) (strcmp(how, name) == 0)
    if (HOW("truncate")) return done(truncate(file, 3));
    if (HOW("chmod")) return done(chmod(file, 0600));
    if (HOW("chown")) return done(chown(file, 33, 34));
    if (HOW("rename")) return done(rename(file, other));
    if (HOW("rename-over")) {
        int fd = open(other, O_WRONLY | O_CREAT, 0644);
        if (fd < 0 || write(fd, "over", 4) != 4) return 1;
        return done(rename(other, file));
    }
    if (HOW("link")) {
        if (link(file, other)) return done(-1);
        int fd = open(other, O_WRONLY | O_TRUNC);
        return done(fd < 0 ? -1 : (int)write(fd, "linked", 6));
    }
    if (HOW("unlink")) return done(unlink(file));
    if (HOW("xattr")) return done(setxattr(file, "user.written", "yes", 3, 0));
    if (HOW("times")) return done(utimensat(AT_FDCWD, file, 0, 0));
    if (HOW("tmpfile")) {
        char path[64];
        int fd = open("/files", O_TMPFILE | O_WRONLY, 0644);
        if (fd < 0) return done(-1);
        if (write(fd, "tmp", 3) != 3 || unlink(file)) return 1;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        return done(linkat(AT_FDCWD, path, AT_FDCWD, file, AT_SYMLINK_FOLLOW));
    }
    int fd = open(file, HOW("append") ? O_RDWR | O_APPEND : O_RDWR);
    if (fd < 0) return done(-1);
    if (HOW("write")) return done((int)pwrite(fd, "written", 7, 2));
    if (HOW("append")) return done((int)write(fd, "appended", 8));
    if (HOW("mmap-shared")) return done(map(fd, MAP_SHARED));
    if (HOW("mmap-private")) return done(map(fd, MAP_PRIVATE));
    if (HOW("fallocate")) return done(fallocate(fd, 0, 0, 1 << 20));
    if (HOW("punch-hole")) return done(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    int from = open("/files/source", O_RDONLY);
    if (from < 0) return done(-1);
    if (HOW("copy-file-range")) return done((int)copy_file_range(from, 0, fd, 0, 4096, 0));
    if (HOW("reflink")) return done(ioctl(fd, FICLONE, from));
    return 1;
}
