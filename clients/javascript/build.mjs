// Builds dist/merganser.mjs, which programs import, and dist/merganser.js for a script tag.
// `npm run build -- --commit` also copies the script to ingest/static, from where ingest serves it.
import { copyFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const resolve = (path) => fileURLToPath(new URL(path, import.meta.url));

const common = {
  bundle: true,
  minify: true,
  // Browsers released since 2020.
  target: "es2020",
  logLevel: "warning",
  legalComments: "none",
};

await build({
  ...common,
  entryPoints: [resolve("src/index.ts")],
  format: "esm",
  outfile: resolve("dist/merganser.mjs"),
});
await build({
  ...common,
  entryPoints: [resolve("src/script.ts")],
  format: "iife",
  outfile: resolve("dist/merganser.js"),
});
if (process.argv.includes("--commit")) {
  await copyFile(resolve("dist/merganser.js"), resolve("../../ingest/static/merganser.js"));
}
