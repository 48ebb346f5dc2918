import path from "node:path";
import { fileURLToPath } from "node:url";

/** @type {import("next").NextConfig} */
export default {
  poweredByHeader: false,
  typescript: { ignoreBuildErrors: true },
  // The packages are found through links to ../../packages; an app that installed them needs none of this.
  turbopack: { root: path.join(path.dirname(fileURLToPath(import.meta.url)), "../..") },
};
