import { render } from "preact";
import { App } from "./app";
import "./style/base.css";
import "./style/list.css";
import "./style/session.css";
import "./style/code.css";
import "./style/stats.css";

const app = document.getElementById("app");
if (app) render(<App />, app);
