/* Counts the instructions that a program executes under qemu's user mode, and says the number on stderr at its end.
 *
 *     cc -shared -fPIC -o count.so count.c && qemu-aarch64 -plugin ./count.so PROGRAM
 *
 * What qemu's plugin interface (version 1) promises is declared here, so that no header of it is needed.
 */
#include <stdint.h>
#include <stdio.h>

typedef uint64_t Id;
struct qemu_plugin_tb;
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
void qemu_plugin_register_vcpu_tb_trans_cb(Id, void (*)(Id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int add, void *to, uint64_t);
void qemu_plugin_register_atexit_cb(Id, void (*)(Id, void *), void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static uint64_t executed;

static void translated(Id id, struct qemu_plugin_tb *block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &executed, qemu_plugin_tb_n_insns(block));
}

static void ended(Id id, void *nothing) {
  (void)id, (void)nothing;
  fprintf(stderr, "instructions: %llu\n", (unsigned long long)executed);
}

__attribute__((visibility("default"))) int qemu_plugin_install(Id id, const void *about, int count, char **words) {
  (void)about, (void)count, (void)words;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
