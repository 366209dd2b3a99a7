import { createPinia } from 'pinia';
import { createApp } from 'vue';
import { useKeeper } from './api/client';
import App from './App.vue';
import { router } from './router';
import { useTheme } from './stores/theme';
import { useToken } from './stores/token';
import './styles/tokens.css';
import './styles/base.css';
import './styles/parts.css';

const app = createApp(App).use(createPinia()).use(router);
useTheme();
useKeeper(useToken());
app.mount('#app');
