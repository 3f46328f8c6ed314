/* A file system of its own that never answers, and a thread of the same process that waits for it: killed, the process stays,
 * since the thread waits for what was already read, and with the thread the connection stays open.
 * usage: hang FOLDER
 */
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[256];

static void *look(void *unused)
{
	struct stat found;
	stat(path, &found);
	return unused;
}

int main(int count, char **arguments)
{
	static char request[1 << 17];
	struct { struct fuse_out_header header; struct fuse_init_out init; } answer;
	char options[64];
	pthread_t thread;
	int fuse = open("/dev/fuse", O_RDWR);

	if (count != 2 || fuse < 0)
		return 1;
	snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
	if (mount("hang", arguments[1], "fuse", 0, options))
		return 2;
	memset(&answer, 0, sizeof answer);
	if (read(fuse, request, sizeof request) < 0)
		return 3;
	answer.header.len = sizeof answer;
	answer.header.unique = ((struct fuse_in_header *)request)->unique;
	answer.init.major = FUSE_KERNEL_VERSION;
	answer.init.minor = FUSE_KERNEL_MINOR_VERSION;
	answer.init.max_write = 4096;
	if (write(fuse, &answer, sizeof answer) < 0)
		return 4;
	snprintf(path, sizeof path, "%s/never", arguments[1]);
	pthread_create(&thread, NULL, look, NULL);
	if (read(fuse, request, sizeof request) < 0)
		return 5;
	puts("hangs");
	fflush(stdout);
	for (;;)
		pause();
}
