/* A guest that takes all that it can get, and one that wants little, at once: `bench neighbours`.

   storm MODE SECONDS     fork, memory, spin, disk, io, inode, socket or dirty: takes that, for so long or until /storm/go is removed
                          again; all files are made in that folder
   storm ask COUNT        answers so many requests, one each PERIOD_US, over TCP on its own loopback: to find a file that is in
                          memory, to touch fresh memory, to compute a little and to write a small file. Says the median, the
                          99th and 99.9th percentile in microseconds, and how many failed.
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* PROCESSES: what a bomb without a limit stops at, so that the machine can say what it was like. */
enum { PERIOD_US = 4000, PROCESSES = 3000, BLOCK = 64 << 10, FILE_MB = 48, TOUCHED = 64 << 10, PORT = 7 };

static char block[BLOCK] __attribute__((aligned(4096)));

static long now_us(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000L + at.tv_nsec / 1000;
}

static void bomb(void)
{
    int *made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (;;) {
        if (__atomic_load_n(made, __ATOMIC_RELAXED) < PROCESSES && fork() >= 0)
            __atomic_add_fetch(made, 1, __ATOMIC_RELAXED);
    }
}

static void hog(void)
{
    for (;;) {
        char *more = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (more != MAP_FAILED)
            memset(more, 1, 1 << 20);
    }
}

static void fill(void)
{
    for (int number = 0;; number++) {
        char name[64];
        snprintf(name, sizeof name, "/storm/fill%d", number % 64);
        int file = open(name, O_WRONLY | O_CREAT | O_APPEND, 0600);
        for (int n = 0; n < 256 && write(file, block, BLOCK) > 0; n++)
            ;
        close(file);
    }
}

static void flood_io(int number)
{
    char name[64];
    snprintf(name, sizeof name, "/storm/io%d", number);
    int file = open(name, O_RDWR | O_CREAT | O_DIRECT, 0600);
    for (long n = number;; n++) {
        off_t at = (n * 7919 % (FILE_MB << 4)) * BLOCK;
        if (n % 2 ? pwrite(file, block, BLOCK, at) : pread(file, block, BLOCK, at)) {
        }
        if (n % 16 == 0)
            fsync(file);
    }
}

static void flood_inodes(int number)
{
    for (long n = 0;; n++) {
        char name[64];
        snprintf(name, sizeof name, "/storm/inode%d-%ld", number, n);
        close(open(name, O_WRONLY | O_CREAT, 0600));
    }
}

static void flood_sockets(void)
{
    for (;;) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair)) {
            usleep(1000);
            continue;
        }
        while (write(pair[0], block, BLOCK) > 0)
            ;
    }
}

static void dirty(int number)
{
    char name[64];
    snprintf(name, sizeof name, "/storm/dirty%d", number);
    int file = open(name, O_RDWR | O_CREAT, 0600);
    for (long n = 0;; n++)
        if (pwrite(file, block, BLOCK, n % (FILE_MB << 4) * BLOCK) < 0)
            usleep(100);
}

static void take(const char *mode, int number)
{
    if (!strcmp(mode, "fork"))
        bomb();
    if (!strcmp(mode, "memory"))
        hog();
    if (!strcmp(mode, "disk"))
        fill();
    if (!strcmp(mode, "io"))
        flood_io(number);
    if (!strcmp(mode, "inode"))
        flood_inodes(number);
    if (!strcmp(mode, "socket"))
        flood_sockets();
    if (!strcmp(mode, "dirty"))
        dirty(number);
    for (volatile long n = 0;; n++) /* spin */
        ;
}

/* Several at once; one that is killed is replaced. All are in one group, which ends with the time. */
static int storm(const char *mode, long seconds)
{
    long end = now_us() + seconds * 1000000L;
    setsid();
    signal(SIGTERM, SIG_IGN);
    mkdir("/storm", 0700);
    close(open("/storm/go", O_WRONLY | O_CREAT, 0600));
    for (int number = 0; number < 4; number++)
        if (fork() == 0)
            take(mode, number);
    while (now_us() < end && access("/storm/go", F_OK) == 0) {
        usleep(50000);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            if (fork() == 0)
                take(mode, 0);
    }
    return kill(0, SIGKILL);
}

/* What a request asks for; -1 where some of it failed. */
static int answer(long number)
{
    static char content[16 << 10];
    int file = open("/bin/busybox", O_RDONLY);
    int bad = read(file, content, sizeof content) <= 0;
    close(file);
    char *fresh = mmap(NULL, TOUCHED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED)
        return -1;
    for (int at = 0; at < TOUCHED; at += 4096)
        fresh[at] = content[at % sizeof content];
    munmap(fresh, TOUCHED);
    unsigned sum = 0;
    for (unsigned at = 0; at < sizeof content / 4; at++)
        sum = sum * 31 + content[at % sizeof content];
    file = open("/tmp/answer.new", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    bad |= dprintf(file, "%ld %u\n", number, sum) <= 0;
    close(file);
    bad |= rename("/tmp/answer.new", "/tmp/answer") != 0;
    return bad ? -1 : 0;
}

static void serve(int listener)
{
    for (long number = 0;; number++) {
        char byte = 0;
        int peer = accept(listener, NULL, NULL);
        if (read(peer, &byte, 1) == 1) {
            byte = answer(number) ? 'f' : 'g';
            if (write(peer, &byte, 1) != 1)
                exit(1);
        }
        close(peer);
    }
}

static int compare(const void *one, const void *two)
{
    long a = *(const long *)one, b = *(const long *)two;
    return a < b ? -1 : a > b;
}

static int ask(long count)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 8)) {
        perror("listen");
        return 1;
    }
    pid_t server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener);
    }
    long *took = calloc(count, sizeof *took), failed = 0, next = now_us();
    for (long n = 0; n < count; n++) {
        char byte = 'q';
        next += PERIOD_US;
        long left = next - now_us();
        if (left > 0)
            usleep(left);
        else
            next = now_us();
        long begin = now_us();
        int peer = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(peer, (struct sockaddr *)&here, sizeof here) || write(peer, &byte, 1) != 1 || read(peer, &byte, 1) != 1 ||
            byte != 'g')
            failed++;
        took[n] = now_us() - begin;
        close(peer);
    }
    kill(server, SIGKILL);
    qsort(took, count, sizeof *took, compare);
    printf("%ld %ld %ld %ld\n", took[count / 2], took[count * 99 / 100], took[count * 999 / 1000], failed);
    return 0;
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    memset(block, 1, sizeof block);
    return strcmp(arguments[1], "ask") ? storm(arguments[1], atol(arguments[2])) : ask(atol(arguments[2]));
}
