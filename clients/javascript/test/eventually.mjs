import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

/** Ask until what is asked equals what is expected; fails after 20 seconds with the last answer. */
export async function eventually(ask, expected) {
  const deadline = Date.now() + 20_000;
  for (;;) {
    try {
      return assert.deepEqual(ask(), expected);
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await sleep(2);
  }
}
