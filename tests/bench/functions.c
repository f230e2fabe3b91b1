/* Runs eic-keys with its arguments and records the functions that it calls, each once, in the order of their first call: a breakpoint
 * at the start of each function is removed when it is reached. packaging/order starts it instead of eic-keys.
 *
 * /var/tmp/eic-functions has the addresses of all functions, sorted; those called go to /var/tmp/eic-functions.PID, and "end STATUS".
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 100000, BREAKPOINT = 0xcc };
static unsigned long functions[MOST];
static long words[MOST];

static int compare(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	char name[64];
	unsigned long base = 0;
	int count = 0, status = 0, signal = 0;
	FILE *in = fopen("/var/tmp/eic-functions", "r");
	(void)argc;
	while (in && count < MOST && fscanf(in, "%lx", &functions[count]) == 1)
		count++;
	pid_t child = fork();
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv("/var/tmp/eic-bench/eic-keys", argv);
		_exit(127);
	}
	waitpid(child, &status, 0);
	ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	snprintf(name, sizeof name, "/proc/%d/maps", child);
	in = fopen(name, "r");
	if (!in || fscanf(in, "%lx", &base) != 1)
		return 1;
	snprintf(name, sizeof name, "/var/tmp/eic-functions.%d", child);
	FILE *out = fopen(name, "w");
	if (!out)
		return 1;
	for (int i = 0; i < count; i++) {
		words[i] = ptrace(PTRACE_PEEKTEXT, child, base + functions[i], 0);
		ptrace(PTRACE_POKETEXT, child, base + functions[i], (words[i] & ~0xffL) | BREAKPOINT);
	}
	for (;;) {
		struct user_regs_struct registers;
		ptrace(PTRACE_SYSCALL, child, 0, (long)signal);
		if (waitpid(child, &status, 0) < 0 || !WIFSTOPPED(status))
			break;
		signal = WSTOPSIG(status);
		if (signal != SIGTRAP && signal != (SIGTRAP | 0x80))
			continue;
		ptrace(PTRACE_GETREGS, child, 0, &registers);
		if (signal == SIGTRAP) {
			unsigned long at = registers.rip - 1 - base;
			unsigned long *found = bsearch(&at, functions, count, sizeof at, compare);
			if (found) {
				/* A word can have breakpoints of other functions: only one byte is put back. */
				long word = ptrace(PTRACE_PEEKTEXT, child, registers.rip - 1, 0);
				word = (word & ~0xffL) | (words[found - functions] & 0xff);
				ptrace(PTRACE_POKETEXT, child, --registers.rip, word);
				ptrace(PTRACE_SETREGS, child, 0, &registers);
				fprintf(out, "%016lx\n", at);
			}
		} else if (registers.orig_rax == SYS_prctl && registers.rdi == PR_SET_DUMPABLE) {
			/* Otherwise the kernel refuses to let this process write to the child's memory. */
			registers.orig_rax = -1;
			ptrace(PTRACE_SETREGS, child, 0, &registers);
		}
		signal = 0;
	}
	fprintf(out, "end %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	return fclose(out) || !WIFEXITED(status) ? 1 : WEXITSTATUS(status);
}
