// What is delivered: small, and alone.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

const read = (path) => readFileSync(new URL(path, import.meta.url));

for (const file of ["merganser.js", "merganser.mjs"]) {
  test(`${file} has less than 5,000 bytes, gzipped`, () => {
    const { length } = gzipSync(read(`../dist/${file}`), { level: 9 });
    assert.ok(length < 5_000, `${length} bytes`);
  });
}

test("nothing comes with it", () => {
  const { dependencies, peerDependencies, optionalDependencies } = JSON.parse(
    read("../package.json"),
  );
  for (const others of [dependencies, peerDependencies, optionalDependencies]) {
    assert.equal(others, undefined);
  }
  assert.doesNotMatch(read("../dist/merganser.mjs").toString(), /\bimport\b|\brequire\b/);
});

test("its types come with it", () => {
  assert.match(read("../dist/index.d.ts").toString(), /export \{ init \}/);
});

test("the script tag makes one global", () => {
  assert.match(read("../dist/merganser.js").toString(), /^"use strict";\(\(\)=>\{|^\(\(\)=>\{/);
});
