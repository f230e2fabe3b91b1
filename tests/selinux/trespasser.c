/* In eic-keys' place, tries what eic-keys must not do, and writes to the log how each attempt ended. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

static void tell(const char *what, int result)
{
    syslog(LOG_NOTICE, "trespasser: %s: %s", what, result >= 0 ? "done" : errno == EACCES || errno == EPERM ? "denied" : strerror(errno));
}

static int reach(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

static int await(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    return bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

int main(void)
{
    openlog("eic-keys", LOG_PID, LOG_AUTHPRIV);
    tell("read a user's file", open("/home/alice/note", O_RDONLY));
    tell("read the users", open("/etc/passwd", O_RDONLY));
    tell("write a file", open("/var/tmp/trespass", O_WRONLY | O_CREAT, 0600));
    tell("connect to ssh", reach(22));
    tell("listen", await(8090));
    tell("send a datagram", socket(AF_INET, SOCK_DGRAM, 0));
    return 0;
}
