import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

/** Call `read` until it returns what is expected; after 20 seconds, fail with its last result. */
export async function eventually(read, expected) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    try {
      return assert.deepEqual(read(), expected);
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await sleep(2);
  }
}
