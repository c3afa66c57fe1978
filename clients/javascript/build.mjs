// Builds dist/merganser.mjs for `import` and dist/merganser.js for a script tag, which is also what
// ingest serves: `npm run build -- --commit` copies it there.
import { copyFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const common = {
  bundle: true,
  minify: true,
  // What browsers have understood since 2020.
  target: "es2020",
  logLevel: "warning",
  legalComments: "none",
};

await build({
  ...common,
  entryPoints: [here("src/index.ts")],
  format: "esm",
  outfile: here("dist/merganser.mjs"),
});
await build({
  ...common,
  entryPoints: [here("src/script.ts")],
  format: "iife",
  outfile: here("dist/merganser.js"),
});
if (process.argv.includes("--commit")) {
  await copyFile(here("dist/merganser.js"), here("../../ingest/static/merganser.js"));
}
