import { defineConfig } from "vite";

// What is built is committed: the same sources must give the same bytes on every machine.
export default defineConfig({
  build: {
    outDir: "../assets",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
});
