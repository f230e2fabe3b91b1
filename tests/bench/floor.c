/*
 * The floor: asks what eic-keys asks for these arguments, one request after the other, each on a connection of its own (the service
 * closes it after its reply), proves nothing and prints nothing. Linked statically; nothing is allocated, nothing is formatted
 * but the request. Usage: floor PATH...
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST " HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token"

static char request[4096], reply[65536];

static char *append(char *end, const char *text)
{
	return stpcpy(end, text);
}

/* Sends the request that ends at `end`; gives the number of bytes of the reply, 0 for a failure. */
static size_t ask(const char *end)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(80) };
	size_t length = 0;
	ssize_t got = -1;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(0xa9fea9fe);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
	    write(fd, request, end - request) == end - request)
		while (length < sizeof reply - 1 &&
		       (got = read(fd, reply + length, sizeof reply - 1 - length)) > 0)
			length += got;
	close(fd);
	reply[length] = 0;
	return got == 0 ? length : 0;
}

int main(int count, char **arguments)
{
	char token[1024], *body;
	int path;

	if (!ask(append(request, "PUT /latest/api/token" HOST "-ttl-seconds: 5\r\n\r\n")) ||
	    !(body = strstr(reply, "\r\n\r\n")) || strlen(body += 4) >= sizeof token)
		return 1;
	strcpy(token, body);
	for (path = 1; path < count; path++) {
		char *end = append(append(request, "GET "), arguments[path]);

		if (!ask(append(append(append(append(end, HOST), ": "), token), "\r\n\r\n")))
			return 1;
	}
	return 0;
}
