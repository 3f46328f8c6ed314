/* Opens, reads to the end and closes files, as `cat` does, and says how long that takes: `bench fakes` runs it in a guest,
   and outside beside lxcfs.

   reads again TIMES FILE...         each file TIMES in a row: what it takes while what was read is still good
   reads first ROUNDS FILE...        all files in turn, with a pause before each: what it takes when it isn't
   reads load READERS SECONDS FILE.. so many processes, each all files ten times a second
   A file's line: its path, the median and the 99th percentile in nanoseconds. A load's: how many files were read, the
   microseconds of processor time that the readers took, and those of the processes that are called `hostel-warden fakes`. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_US = 60000, AWAKE_NS = 500000, TENTH_US = 100000, PIDS = 64 };

static long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000L + at.tv_nsec;
}

static void read_whole(const char *path)
{
    static char room[1 << 16];
    int file = open(path, O_RDONLY);
    ssize_t length = -1;
    if (file < 0) {
        perror(path);
        exit(1);
    }
    while ((length = read(file, room, sizeof room)) > 0)
        ;
    if (length < 0) {
        perror(path);
        exit(1);
    }
    close(file);
}

static int compare(const void *one, const void *other)
{
    long a = *(const long *)one, b = *(const long *)other;
    return a < b ? -1 : a > b;
}

static void tell(const char *path, long *taken, int count)
{
    qsort(taken, count, sizeof *taken, compare);
    printf("%s %ld %ld\n", path, taken[count / 2], taken[count - 1 - count / 100]);
}

static void again(int times, char **files, int count)
{
    long *taken = calloc(times, sizeof *taken);
    for (int file = 0; file < count; file++) {
        read_whole(files[file]);
        for (int i = 0; i < times; i++) {
            long began = now();
            read_whole(files[file]);
            taken[i] = now() - began;
        }
        tell(files[file], taken, times);
    }
}

static void first(int rounds, char **files, int count)
{
    long *taken = calloc((size_t)rounds * count, sizeof *taken);
    for (int round = 0; round < rounds; round++)
        for (int file = 0; file < count; file++) {
            usleep(PAUSE_US);
            /* What it takes a processor to wake up is nobody's merit or fault. */
            for (long end = now() + AWAKE_NS; now() < end;)
                ;
            long began = now();
            read_whole(files[file]);
            taken[file * rounds + round] = now() - began;
        }
    for (int file = 0; file < count; file++)
        tell(files[file], taken + file * rounds, rounds);
}

/* Of all its threads: nanoseconds. Through the kernel's own /proc, which a guest has elsewhere. */
static long long server_time(void)
{
    long long all = 0;
    for (int pid = 1; pid < PIDS; pid++) {
        char path[96], text[64] = "";
        snprintf(path, sizeof path, "/run/hostel/kernel/proc/%d/cmdline", pid);
        int file = open(path, O_RDONLY);
        if (file < 0 || read(file, text, sizeof text - 1) < 0 || strcmp(text, "hostel-warden") ||
            strcmp(text + strlen(text) + 1, "fakes")) {
            if (file >= 0)
                close(file);
            continue;
        }
        close(file);
        for (int task = pid; task < pid + PIDS; task++) {
            long long ns = 0;
            snprintf(path, sizeof path, "/run/hostel/kernel/proc/%d/task/%d/schedstat", pid, task);
            FILE *stat = fopen(path, "r");
            if (stat && fscanf(stat, "%lld", &ns) == 1)
                all += ns;
            if (stat)
                fclose(stat);
        }
    }
    return all;
}

static void load(int readers, int seconds, char **files, int count)
{
    long *reads = mmap(NULL, sizeof(long) * readers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    long long before = server_time();
    long end = now() + seconds * 1000000000L;
    for (int reader = 0; reader < readers; reader++)
        if (fork() == 0) {
            usleep(TENTH_US / readers * reader);
            while (now() < end) {
                for (int file = 0; file < count; file++)
                    read_whole(files[file]);
                reads[reader] += count;
                usleep(TENTH_US);
            }
            exit(0);
        }
    int status = 0, failed = 0;
    while (wait(&status) > 0)
        failed |= status;
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    long all = 0;
    for (int reader = 0; reader < readers; reader++)
        all += reads[reader];
    printf("%ld %ld %lld\n", all,
           (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000L + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec,
           (server_time() - before) / 1000);
    exit(failed != 0);
}

int main(int count, char **arguments)
{
    if (count > 4 && !strcmp(arguments[1], "load"))
        load(atoi(arguments[2]), atoi(arguments[3]), arguments + 4, count - 4);
    else if (count > 3 && !strcmp(arguments[1], "again"))
        again(atoi(arguments[2]), arguments + 3, count - 3);
    else if (count > 3 && !strcmp(arguments[1], "first"))
        first(atoi(arguments[2]), arguments + 3, count - 3);
    else
        return 2;
    return 0;
}
