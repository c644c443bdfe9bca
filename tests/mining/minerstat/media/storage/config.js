global.accesskey = "minerstat-secret";
global.worker = "rig11";
global.path = __dirname;
