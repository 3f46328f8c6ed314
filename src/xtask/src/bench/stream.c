/* A stream of bytes over TCP, how fast it is, and what processor time it takes on both sides: `bench network`.

   stream serve PORT                     whoever connects says how many bytes he wants, gets them, and the microseconds that they took
   stream receive ADDRESS PORT MEGABYTES takes so many, and says how many came in a second, and for a second of processor time
*/
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 << 10 };
static char buffer[BUFFER];

static long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000L + at.tv_nsec;
}

static long used_us(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000L + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

static struct sockaddr_in address(const char *text, const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    if (inet_pton(AF_INET, text, &to.sin_addr) != 1)
        exit(2);
    return to;
}

static int serve(const char *port)
{
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in here = address("0.0.0.0", port);
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 8)) {
        perror("listen");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        int peer = accept(listener, NULL, NULL);
        if (peer >= 0 && fork() == 0) {
            long wanted = 0, before = used_us();
            if (read(peer, &wanted, sizeof wanted) != sizeof wanted)
                _exit(1);
            for (long sent = 0, more; sent < wanted; sent += more)
                if ((more = write(peer, buffer, wanted - sent < BUFFER ? wanted - sent : BUFFER)) <= 0)
                    _exit(1);
            long used = used_us() - before;
            _exit(write(peer, &used, sizeof used) != sizeof used);
        }
        close(peer);
    }
}

static int receive(const char *host, const char *port, long megabytes)
{
    struct sockaddr_in to = address(host, port);
    int peer = socket(AF_INET, SOCK_STREAM, 0);
    long wanted = megabytes << 20, begin = now(), used = used_us(), theirs = 0;
    if (connect(peer, (struct sockaddr *)&to, sizeof to) || write(peer, &wanted, sizeof wanted) != sizeof wanted) {
        perror("connect");
        return 1;
    }
    for (long got = 0, more; got < wanted; got += more)
        if ((more = read(peer, buffer, wanted - got < BUFFER ? wanted - got : BUFFER)) <= 0)
            return 1;
    double took = (now() - begin) / 1e9;
    if (recv(peer, &theirs, sizeof theirs, MSG_WAITALL) != sizeof theirs)
        return 1;
    printf("%.0f %.0f\n", wanted / took, wanted / ((used_us() - used + theirs) / 1e6));
    return 0;
}

int main(int count, char **arguments)
{
    if (count == 3 && !strcmp(arguments[1], "serve"))
        return serve(arguments[2]);
    if (count == 5 && !strcmp(arguments[1], "receive"))
        return receive(arguments[2], arguments[3], atol(arguments[4]));
    return 2;
}
