// The built files: small, and without dependencies.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

const read = (path) => readFileSync(new URL(path, import.meta.url));

for (const file of ["merganser.js", "merganser.mjs"]) {
  test(`${file} is smaller than 5,000 bytes with gzip`, () => {
    const { length } = gzipSync(read(`../dist/${file}`), { level: 9 });
    assert.ok(length < 5_000, `${length} bytes`);
  });
}

test("the client has no dependencies", () => {
  const { dependencies, peerDependencies, optionalDependencies } = JSON.parse(
    read("../package.json"),
  );
  for (const packages of [dependencies, peerDependencies, optionalDependencies]) {
    assert.equal(packages, undefined);
  }
  assert.doesNotMatch(read("../dist/merganser.mjs").toString(), /\bimport\b|\brequire\b/);
});

test("the types are built", () => {
  assert.match(read("../dist/index.d.ts").toString(), /export \{ init \}/);
});

test("the script of the tag does not leak its variables", () => {
  assert.match(read("../dist/merganser.js").toString(), /^"use strict";\(\(\)=>\{|^\(\(\)=>\{/);
});
