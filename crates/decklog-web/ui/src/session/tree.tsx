/** Changed files as a tree of directories. */

import type { ChangedFile } from "../types";
import { anchor } from "./file";

interface Directory {
  name: string;
  directories: Map<string, Directory>;
  files: ChangedFile[];
}

function treeOf(files: ChangedFile[]): Directory {
  const root: Directory = { name: "", directories: new Map(), files: [] };
  for (const file of files) {
    const parts = file.path.split("/").slice(0, -1);
    let at = root;
    for (const part of parts) {
      const next = at.directories.get(part) ?? { name: part, directories: new Map(), files: [] };
      at.directories.set(part, next);
      at = next;
    }
    at.files.push(file);
  }
  return root;
}

/** A directory that holds nothing but another is one line with it. */
function joined(directory: Directory): Directory {
  const only = [...directory.directories.values()];
  const [child] = only;
  if (directory.name && child && only.length === 1 && directory.files.length === 0) return joined({ ...child, name: `${directory.name}/${child.name}` });
  return directory;
}

export function Tree({ files }: { files: ChangedFile[] }) {
  return (
    <nav class="tree" aria-label="Changed files">
      <Branch directory={treeOf(files)} />
    </nav>
  );
}

function Branch({ directory }: { directory: Directory }) {
  const show = (path: string) => {
    const element = document.getElementById(anchor(path));
    if (element instanceof HTMLDetailsElement) element.open = true;
    element?.scrollIntoView({ block: "start" });
    element?.querySelector("summary")?.focus({ preventScroll: true });
  };
  return (
    <ul>
      {[...directory.directories.values()].map(joined).map((child) => (
        <li key={child.name}>
          <details open>
            <summary>{child.name}/</summary>
            <Branch directory={child} />
          </details>
        </li>
      ))}
      {directory.files.map((file) => (
        <li key={file.path}>
          <button type="button" class={`plain ${file.status}`} title={`${file.path}: ${file.status}`} onClick={() => show(file.path)}>
            <span class="name">{file.path.split("/").at(-1)}</span>
            <small><b class="plus">+{file.added}</b> <b class="minus">−{file.removed}</b></small>
          </button>
        </li>
      ))}
    </ul>
  );
}
