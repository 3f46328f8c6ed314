/* The least that a context costs: every namespace, a root of its own with its mounts, one static program in it.
 * No image of a user's wishes, no cgroup, no record: what the kernel takes by itself.
 *
 *   bare ROOT PROGRAM [FILE...]     each FILE has something bound over it, from a tmpfs; with them come the second /proc and
 *                                   /sys and the other mounts that a guest has
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static int check(int result, const char *what) {
    if (result < 0) {
        perror(what);
        _exit(125);
    }
    return result;
}

static void map(pid_t pid, const char *file) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = check(open(path, O_WRONLY | O_CLOEXEC), path);
    static const char line[] = "0 1879048192 65536\n";
    check(write(fd, line, sizeof line - 1), path);
    close(fd);
}

static void put(const char *kind, const char *place, unsigned long flags, const char *data) {
    check(mount(kind, place, kind, flags, data), place);
}

/* What a guest has beyond that. */
static void build_more(char **files) {
    check(mkdir("run/fakes", 0755), "run/fakes");
    check(mkdir("run/proc", 0755), "run/proc");
    check(mkdir("run/sys", 0755), "run/sys");
    check(mkdir("dev/mqueue", 0755), "dev/mqueue");
    put("proc", "run/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    put("sysfs", "run/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
    put("mqueue", "dev/mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (mount("cgroup2", "sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) perror("cgroup2");
    put("tmpfs", "run/fakes", MS_NOSUID | MS_NODEV, NULL);
    close(check(open("run/fakes/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0666), "run/fakes/file"));
    /* Relative to the root, as the others. */
    for (; *files; files++)
        check(mount("run/fakes/file", *files + 1, NULL, MS_BIND, NULL), *files);
}

/* The tree was cloned by the caller, who may go where the root is; the place in which it lies for a moment is any. */
static void build(int root, char **files) {
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
    check(syscall(SYS_move_mount, root, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH), "the root");
    check(fchdir(root), "the root");
    put("proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    put("sysfs", "sys", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
    put("tmpfs", "dev", MS_NOSUID, "mode=755");
    check(mkdir("dev/pts", 0755), "dev/pts");
    check(mkdir("dev/shm", 01777), "dev/shm");
    put("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620");
    put("tmpfs", "dev/shm", MS_NOSUID | MS_NODEV, NULL);
    put("tmpfs", "run", MS_NOSUID | MS_NODEV, "mode=755");
    static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
    for (unsigned at = 0; at < sizeof devices / sizeof *devices; at++) {
        char from[32], to[32];
        snprintf(from, sizeof from, "/dev/%s", devices[at]);
        snprintf(to, sizeof to, "dev/%s", devices[at]);
        close(check(open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0666), to));
        check(mount(from, to, NULL, MS_BIND, NULL), to);
    }
    if (*files) build_more(files);
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "the old root");
    check(chdir("/"), "/");
    check(sethostname("bare", 4), "host name");
    int socket_fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    struct ifreq request = {0};
    strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    check(ioctl(socket_fd, SIOCSIFFLAGS, &request), "lo");
    close(socket_fd);
}

int main(int count, char **arguments) {
    if (count < 3) return 2;
    int made[2], mapped[2], status = 0;
    char byte = 0;
    int root = check(syscall(SYS_open_tree, AT_FDCWD, arguments[1], OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), arguments[1]);
    check(pipe2(made, O_CLOEXEC), "pipe");
    check(pipe2(mapped, O_CLOEXEC), "pipe");
    pid_t helper = check(fork(), "fork");
    if (helper == 0) {
        check(unshare(CLONE_NEWUSER), "user namespace");
        check(write(made[1], &byte, 1), "pipe");
        check(read(mapped[0], &byte, 1), "pipe");
        check(setgid(0), "setgid");
        check(setuid(0), "setuid");
        check(unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWCGROUP |
                      CLONE_NEWTIME), "namespaces");
        pid_t first = check(fork(), "fork");
        if (first == 0) {
            build(root, arguments + 3);
            char *argv[] = {arguments[2], NULL}, *environment[] = {NULL};
            execve(arguments[2], argv, environment);
            perror(arguments[2]);
            _exit(127);
        }
        check(waitpid(first, &status, 0), "wait");
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 125);
    }
    check(read(made[0], &byte, 1), "pipe");
    map(helper, "uid_map");
    map(helper, "gid_map");
    check(write(mapped[1], &byte, 1), "pipe");
    check(waitpid(helper, &status, 0), "wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
