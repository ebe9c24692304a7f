import { render } from "preact";
import { start } from "./data/store";
import { startTheme } from "./ui/theme";
import { Shell } from "./shell";

startTheme();
start();
const root = document.getElementById("page");
if (root !== null) render(<Shell />, root);
